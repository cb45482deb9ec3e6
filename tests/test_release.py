"""Wheel and source distribution: their version, what is in them, and that they work outside of the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
RELEASE = f"sdlcore-{VERSION}"


def run(*command: str | Path, where: Path, **environment: str) -> str:
    """Run a command and return what it prints."""
    given = {**os.environ, **environment}
    done = subprocess.run(
        list(map(str, command)), cwd=where, env=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def tracked() -> set[str]:
    """Return the paths of the working tree that git tracks or would add."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", where=REPOSITORY)
    return {name for name in listed.split("\0") if name and (REPOSITORY / name).exists()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with what `make dist` builds of the working tree, in a copy of it without git."""
    copy = tmp_path_factory.mktemp("release") / "copy"
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, copy / name, follow_symlinks=False)
    (copy / "tests/__pycache__").mkdir()
    (copy / "tests/__pycache__/left.pyc").touch()
    run("make", "dist", f"PYTHON={sys.executable}", where=copy)
    return copy / "dist"


@pytest.mark.slow
@pytest.mark.registry
def test_the_source_distribution_has_what_git_tracks_but_results(built):
    assert {path.name for path in built.iterdir()} == {f"{RELEASE}-py3-none-any.whl", f"{RELEASE}.tar.gz"}
    with tarfile.open(built / f"{RELEASE}.tar.gz") as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if not member.isdir()}
    made = {"PKG-INFO", "setup.cfg", *(name for name in names if ".egg-info/" in name)}
    expected = {name for name in tracked() if not name.startswith("docs/results/") and name != "profiles"}
    assert names - made == expected


TRAIN = """
import sdlcore as sdl
bench = sdl.Bench.draw(n=8, n_p=8, sparsity=0.8, seed=0)
model = sdl.fit(bench.sample(500), activation="topk", k=2, n_q=16, steps=20, batch_size=64, seed=0, progress=False)
model.save("mine.safetensors")
print(sdl.__file__)
"""


@pytest.mark.slow
@pytest.mark.registry
def test_the_wheel_trains_outside_of_the_checkout(built, tmp_path):
    wheel = built / f"{RELEASE}-py3-none-any.whl"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", "site", wheel, where=tmp_path)
    site = tmp_path / "site"
    assert (site / "sdlcore/study/report/page.html.j2").exists()
    said = run(sys.executable, "-c", TRAIN, where=tmp_path, PYTHONPATH=str(site))
    assert said.splitlines()[-1] == str(site / "sdlcore/__init__.py")
    help_text = run(sys.executable, site / "bin/sdlcore", "--help", where=tmp_path, PYTHONPATH=str(site))
    assert "evaluate" in help_text


def test_a_checkout_on_the_path_has_the_version_of_the_project_whatever_is_installed(tmp_path):
    (tmp_path / "sdlcore-98.7.dist-info").mkdir()
    (tmp_path / "sdlcore-98.7.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: sdlcore\nVersion: 98.7\n")
    path = os.pathsep.join([str(REPOSITORY / "src"), str(tmp_path)])
    code = "import sdlcore; print(sdlcore.__version__)"
    assert run(sys.executable, "-c", code, where=tmp_path, PYTHONPATH=path) == f"{VERSION}\n"


def test_the_citation_is_one_and_names_no_version_to_keep_in_step():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "Apache-2.0"
    assert "version" not in citation


def test_hooks_are_among_what_make_check_runs():
    (local,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    check = re.search(r"^check:.*\n((?:\t.*\n)*)", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)[1]
    for hook in local["hooks"]:
        tool = " ".join(word for word in hook["entry"].split() if not word.startswith("-"))
        assert tool in check, tool
