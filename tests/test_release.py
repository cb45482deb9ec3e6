"""Wheel and source distribution: their version, what is in them, and that they work outside of the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY


def run(*command: str | Path, where: Path, **environment: str) -> str:
    """Run a command and return what it prints."""
    given = {**os.environ, **environment}
    done = subprocess.run(
        list(map(str, command)), cwd=where, env=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with what `make dist` builds of the working tree, committed and tagged v98.7."""
    copy = tmp_path_factory.mktemp("release") / "copy"
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", where=REPOSITORY)
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy / name, follow_symlinks=False)
    git = ["git", "-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    run(*git, "init", "--quiet", where=copy)
    run(*git, "add", "--all", where=copy)
    run(*git, "commit", "--quiet", "--message", "All", where=copy)
    run(*git, "tag", "v98.7", where=copy)
    run("make", "dist", f"PYTHON={sys.executable}", where=copy)
    return copy / "dist"


@pytest.mark.slow
@pytest.mark.registry
def test_the_version_is_the_tags_in_the_wheel_that_the_source_distribution_makes(built):
    assert {path.name for path in built.iterdir()} == {"sdlcore-98.7-py3-none-any.whl", "sdlcore-98.7.tar.gz"}
    with tarfile.open(built / "sdlcore-98.7.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"workflow/Snakefile", "config/config.yaml", "CITATION.cff", "src/sdlcore/py.typed"} <= names
    assert not any(name.startswith("docs/results/") for name in names)


TRAIN = """
import sdlcore as sdl
assert sdl.__version__ == "98.7", sdl.__version__
bench = sdl.Bench.draw(n=8, n_p=8, sparsity=0.8, seed=0)
model = sdl.fit(bench.sample(500), activation="topk", k=2, n_q=16, steps=20, batch_size=64, seed=0, progress=False)
model.save("mine.safetensors")
print(sdl.__file__)
"""


@pytest.mark.slow
@pytest.mark.registry
def test_the_wheel_trains_outside_of_the_checkout(built, tmp_path):
    wheel = built / "sdlcore-98.7-py3-none-any.whl"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", "site", wheel, where=tmp_path)
    site = tmp_path / "site"
    assert (site / "sdlcore/study/report/page.html.j2").exists()
    said = run(sys.executable, "-c", TRAIN, where=tmp_path, PYTHONPATH=str(site))
    assert said.splitlines()[-1] == str(site / "sdlcore/__init__.py")
    help_text = run(sys.executable, site / "bin/sdlcore", "--help", where=tmp_path, PYTHONPATH=str(site))
    assert "evaluate" in help_text


def test_a_checkout_that_is_not_installed_has_a_version_too(tmp_path):
    # without site-packages, and so without the one import that the package begins with
    code = (
        "import sys, types; sys.modules['lazy_loader'] = types.SimpleNamespace(attach_stub=lambda *given: [None] * 3)"
    )
    code += "; import sdlcore; print(sdlcore.__version__)"
    said = run(sys.executable, "-S", "-c", code, where=tmp_path, PYTHONPATH=str(REPOSITORY / "src"))
    assert re.fullmatch(r"\d[\w.+]*", said.strip())


def test_the_citation_is_one_and_names_no_version_that_a_tag_would_contradict():
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
