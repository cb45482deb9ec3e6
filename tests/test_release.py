"""Wheel and source distribution: their version and content, and that they work outside the checkout."""

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
    assert list((site / "sdlcore").rglob("*.j2"))
    assert sorted(path.name for path in site.iterdir() if path.suffix != ".dist-info") == ["bin", "sdlcore"]
    output = run(sys.executable, "-c", TRAIN, where=tmp_path, PYTHONPATH=str(site))
    assert output.splitlines()[-1] == str(site / "sdlcore/__init__.py")
    help_text = run(sys.executable, site / "bin/sdlcore", "--help", where=tmp_path, PYTHONPATH=str(site))
    assert "evaluate" in help_text


def test_a_checkout_on_the_path_has_the_version_of_the_project_whatever_is_installed(tmp_path):
    (tmp_path / "sdlcore-98.7.dist-info").mkdir()
    (tmp_path / "sdlcore-98.7.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: sdlcore\nVersion: 98.7\n")
    path = os.pathsep.join([str(REPOSITORY / "src"), str(tmp_path)])
    code = "import sdlcore; print(sdlcore.__version__)"
    assert run(sys.executable, "-c", code, where=tmp_path, PYTHONPATH=path) == f"{VERSION}\n"
