"""The version of the package, and the content of its source distribution. tests/release.py uses both distributions."""

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

VERSION = runpy.run_path(str(REPOSITORY / "src/sdlcore/version.py"))["__version__"]
RELEASE = f"sdlcore-{VERSION}"


def run(*command: str | Path, where: Path, **environment: str) -> str:
    """Run a command and return its output."""
    env = {**os.environ, **environment}
    done = subprocess.run(
        list(map(str, command)), cwd=where, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def tracked() -> set[str]:
    """Return the paths of the working tree that git tracks or would add."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", where=REPOSITORY)
    return {name for name in listed.split("\0") if name and (REPOSITORY / name).exists()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with what `make release-test` builds of the working tree, in a copy of it without git."""
    copy = tmp_path_factory.mktemp("release") / "copy"
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, copy / name, follow_symlinks=False)
    (copy / "tests/__pycache__").mkdir()
    (copy / "tests/__pycache__/left.pyc").touch()
    run("make", "cache/build/.built", f"PYTHON={sys.executable}", where=copy)
    return copy / "dist"


@pytest.mark.slow
@pytest.mark.registry
def test_the_source_distribution_has_what_git_tracks(built):
    assert {path.name for path in built.iterdir()} == {f"{RELEASE}-py3-none-any.whl", f"{RELEASE}.tar.gz"}
    with tarfile.open(built / f"{RELEASE}.tar.gz") as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if not member.isdir()}
    generated = {"PKG-INFO", "setup.cfg", *(name for name in names if ".egg-info/" in name)}
    expected = {name for name in tracked() if name != "profiles"}
    assert names - generated == expected


def test_a_checkout_on_the_path_has_the_version_of_the_project_whatever_is_installed(tmp_path):
    (tmp_path / "sdlcore-98.7.dist-info").mkdir()
    (tmp_path / "sdlcore-98.7.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: sdlcore\nVersion: 98.7\n")
    path = os.pathsep.join([str(REPOSITORY / "src"), str(tmp_path)])
    code = "import sdlcore; print(sdlcore.__version__)"
    assert run(sys.executable, "-c", code, where=tmp_path, PYTHONPATH=path) == f"{VERSION}\n"
