"""Checks of .github/workflows that need no run. actionlint would check more, but has no wheel."""

import re
import runpy
import subprocess
import tomllib

import pytest
import yaml

from tests.conftest import REPOSITORY

PATHS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in PATHS}
JOBS = [
    pytest.param(job, id=f"{name}-{job_name}")
    for name, workflow in WORKFLOWS.items()
    for job_name, job in workflow["jobs"].items()
]


def commands(job) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


def test_there_is_one_for_tests_and_one_for_releases():
    assert list(WORKFLOWS) == ["ci", "release"]
    assert set(WORKFLOWS["ci"]["jobs"]) == {"linux", "macos"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit_beside_its_version(path):
    lines = [line.strip() for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.fullmatch(r"- uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("job", JOBS)
def test_every_file_and_target_that_a_job_names_exists(job):
    text = commands(job)
    for target in re.findall(r"\bmake ([\w./-]+)", text):
        done = subprocess.run(["make", "--dry-run", "--always-make", target], cwd=REPOSITORY, capture_output=True)
        assert done.returncode == 0, target
    for path in re.findall(r"(?:^| )((?:tests|src|\.ci)/[\w./]+)", text, flags=re.MULTILINE):
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("job", JOBS)
def test_jobs_end_have_steps_of_one_kind_and_take_no_text_of_strangers_into_a_shell(job):
    assert 0 < job["timeout-minutes"] <= 120
    assert re.fullmatch(r"(ubuntu-24\.04|macos-15)(-arm)?|\$\{\{ matrix\.runner \}\}", job["runs-on"])
    assert "${{" not in commands(job)
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert step.keys() <= {"name", "if", "uses", "with", "run", "env"}
    for name in re.findall(r"\$\{\{ matrix\.(\w+) \}\}", str(job)):
        assert job["strategy"]["matrix"][name]


def test_the_oldest_python_that_the_project_supports_is_tested():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    for job in WORKFLOWS["ci"]["jobs"].values():
        assert job["strategy"]["matrix"]["python"] == [oldest, "3.13"]
    pythons = re.search(r"^PYTHONS \?= (.*)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)[1]
    setup = next(
        step for step in WORKFLOWS["release"]["jobs"]["build"]["steps"] if "python-version" in step.get("with", {})
    )
    assert [f"python{version}" for version in setup["with"]["python-version"].split()] == pythons.split()


def test_only_the_job_that_publishes_a_tag_may_identify_itself_to_the_index():
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}
    jobs = {name: job for workflow in WORKFLOWS.values() for name, job in workflow["jobs"].items()}
    assert {name: job["permissions"] for name, job in jobs.items() if "permissions" in job} == {
        "publish": {"id-token": "write"}
    }
    assert jobs["publish"]["if"] == "startsWith(github.ref, 'refs/tags/')"
    assert jobs["publish"]["needs"] == "build"


def test_the_command_that_compares_a_tag_with_the_version_tells_them_apart():
    (step,) = (step for step in WORKFLOWS["release"]["jobs"]["build"]["steps"] if "if" in step)
    version = runpy.run_path(str(REPOSITORY / "src/sdlcore/version.py"))["__version__"]
    for tag, code in ((f"v{version}", 0), (f"v{version}1", 1), ("v", 1)):
        done = subprocess.run(
            ["bash", "-c", step["run"]], cwd=REPOSITORY, env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"}
        )
        assert done.returncode == code, tag
