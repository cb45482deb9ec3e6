"""Other workflows import this one as a module, as config/README.md describes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.workflow.conftest import snakemake


def importer(folder: Path, snakefile: str) -> Path:
    """Write the workflow of config/README.md to an empty folder, with an expression for the path of our Snakefile."""
    (text,) = re.findall(r"```snakemake\n(.*?)```", (REPOSITORY / "config/README.md").read_text(), flags=re.DOTALL)
    path = '"/path/to/clone/workflow/Snakefile"'
    assert path in text
    folder.mkdir()
    (folder / "Snakefile").write_text(text.replace(path, snakefile))
    shutil.copy(REPOSITORY / "config/tiny.yaml", folder / "config.yaml")
    return folder


def planned(folder: Path, *arguments: str) -> list[str]:
    """Return the rules of a dry run's jobs."""
    output = snakemake("-n", "--cores", "1", *arguments, where=folder).stdout
    return sorted(rule for rule in re.findall(r"^rule (\w+):", output, flags=re.MULTILINE) if rule != "all")


@pytest.fixture(scope="module")
def plan(checkout):
    """The plan of the workflow itself."""
    return checkout.plan()


def test_a_module_plans_what_the_workflow_itself_does(checkout, plan, tmp_path):
    folder = importer(tmp_path / "mine", f'"{checkout.path}/workflow/Snakefile"')
    assert planned(folder) == sorted(f"sdl_{rule}" for rule, _ in plan.jobs)
    assert not (folder / "results").exists()


@pytest.mark.slow
def test_a_module_can_be_of_a_commit(checkout, plan, tmp_path):
    clone = tmp_path / "a clone"
    shutil.copytree(checkout.path, clone, symlinks=True, ignore=shutil.ignore_patterns(".snakemake", "__pycache__"))
    git = ["git", "-C", str(clone), "-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "All"], check=True)
    subprocess.run([*git, "tag", "v1"], check=True)
    (clone / "workflow/Snakefile").write_text("what is checked out does not count")
    folder = importer(tmp_path / "mine", f'gitfile("{clone}", path="workflow/Snakefile", tag="v1")')
    assert planned(folder) == sorted(f"sdl_{rule}" for rule, _ in plan.jobs)
    (unpacked,) = (folder / ".snakemake/sdlcore").iterdir()
    before = unpacked.stat().st_mtime_ns
    planned(folder)
    assert unpacked.stat().st_mtime_ns == before
    unknown = (folder / "Snakefile").read_text().replace('tag="v1"', 'tag="v2"')
    (folder / "Snakefile").write_text(unknown)
    assert "v2" in snakemake("-n", where=folder, check=False).stdout


@pytest.mark.slow
def test_a_module_finishes_in_an_empty_folder(finished, tmp_path):
    folder = importer(tmp_path / "mine", f'"{finished.path}/workflow/Snakefile"')
    done = snakemake("--cores", "2", where=folder, forked=False)
    assert "steps (100%) done" in done.stdout
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        *("Snakefile", "config.yaml", "results", "logs")
    }
    for table in ("table1.csv", "table3.csv", "figure6.csv"):
        expected = finished.path / "results/tiny/tables" / table
        assert (folder / "results/tiny/tables" / table).read_bytes() == expected.read_bytes()
    log = next((folder / "logs/tiny/train").glob("*.log")).read_text()
    assert "Python of its own" not in log
    assert planned(folder) == []
