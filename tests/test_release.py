"""Wheel and source distribution: their version and content, and that they work outside the checkout."""

import csv
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests import release
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
    assert (site / "sdlcore/inside").glob("*.j2")
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


def test_the_installed_package_is_tested_and_no_checkout(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run([sys.executable, "-c", release.USE], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert f"sdlcore was imported from {REPOSITORY / 'src'}" in done.stderr
    output = release.run(sys.executable, "-c", "import os; print(os.environ.get('PYTHONPATH'))", folder=tmp_path)
    assert output == "None\n"


def test_pythons_that_do_not_start_are_named_before_anything_is_installed(tmp_path):
    broken = tmp_path / "python3.99"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    pythons = [sys.executable, str(broken), "python3.98"]
    assert release.missing(pythons) == [str(broken), "python3.98"]
    with pytest.raises(SystemExit, match=r"not found: .*python3\.99, python3\.98; .* ARGS=--allow-missing"):
        release.main(["--pythons", *pythons])
    with pytest.raises(SystemExit, match=r"not found: python3\.98"):  # none is left
        release.main(["--allow-missing", "--pythons", "python3.98"])


def test_each_python_gets_the_oldest_and_the_newest_torch_and_one_gets_the_source_distribution():
    assert release.torch_requirements() == {"oldest": "torch==2.6.*", "newest": "torch>=2.6,<3"}
    assert list(release.environments(["a", "b"])) == [
        ("wheel", "a", "newest"),
        ("wheel", "b", "newest"),
        ("sdist", "a", "newest"),
        ("wheel", "a", "oldest"),
        ("wheel", "b", "oldest"),
    ]


def test_a_failure_stays_in_the_table_and_in_the_exit_status(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{release.BEGINS}\nold\n{release.ENDS}\nafter\n")
    monkeypatch.setattr(release.write, "__defaults__", (tmp_path / "release.csv", page))
    failing = tmp_path / "python3"  # starts, and makes no environment
    failing.write_text('#!/bin/sh\ntest "$1" = -c\n')
    failing.chmod(0o755)
    assert release.main(["--allow-missing", "--pythons", "python3.98", str(failing)]) == 3
    rows = list(csv.reader((tmp_path / "release.csv").open()))
    assert [row[2:5] for row in rows[1:3]] == [["python3.98", "", "not found"], ["python3", "torch>=2.6,<3", "failed"]]
    assert len(rows) == 5
    assert re.fullmatch(r"before\n<!--.*-->\n(\|.*\|\n){6}<!-- end -->\nafter\n", page.read_text())


def test_contributing_shows_the_environments_of_the_table(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(release.PAGE.read_text())
    rows = list(csv.DictReader(release.TABLE.open()))
    release.write(rows, tmp_path / "release.csv", page)
    assert page.read_text() == release.PAGE.read_text()
