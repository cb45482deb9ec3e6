"""Test a release in empty environments, outside the checkout: `make release-test` builds dist/ and runs this module.

Each Python gets the wheel with the oldest and with the newest supported torch; the first Python also gets the source
distribution. pip chooses torch's build; its setting PIP_EXTRA_INDEX_URL can add an index with builds for CPUs.
Nothing is installed when this starts, so it imports the standard library alone.
"""

import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
USE = """
import json, subprocess, sys, sysconfig
from pathlib import Path

import sdlcore as sdl

site = Path(sysconfig.get_path("purelib"))
assert Path(sdl.__file__).is_relative_to(site), f"sdlcore was imported from {sdl.__file__}, not from {site}"
others = [entry for entry in sys.path if Path(entry) != site and (Path(entry) / "sdlcore").exists()]
assert not others, f"a second sdlcore is on the path: {others}"

import numpy as np
import torch

x = np.random.default_rng(0).standard_normal((512, 16)).astype("float32")
fitted = sdl.fit(x, activation="topk", k=4, n_q=32, steps=20, batch_size=64, seed=0, progress=False)
fitted.save("mine.safetensors")
loaded = sdl.load("mine.safetensors")
codes = loaded.encode(x)
assert codes.shape == (512, 32) and (codes != 0).any() and ((codes != 0).sum(axis=1) <= 4).all()
assert np.array_equal(codes, fitted.encode(x))
sdl.export(loaded, "saelens", "exported", model_name="gpt2", hook_name="blocks.5.hook_resid_post")
assert json.loads(Path("exported/cfg.json").read_text())["d_sae"] == 32
sdl.plot.recovery(sdl.evaluate(fitted, np.eye(16), x)).figure.savefig("recovery.png")
command = [Path(sysconfig.get_path("scripts")) / "sdlcore", "--version"]
said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
assert said == f"sdlcore {sdl.__version__}\\n", said
print(json.dumps({"python": sys.version.split()[0], "torch": torch.__version__, "sdlcore": sdl.__version__}))
"""
"""A user's first minutes with an installed package."""


class Failure(Exception):
    """A step of one environment failed; the text is its output."""


def run(*command: str | Path, folder: Path) -> str:
    """Run a command without any setting of Python's from outside, and return its output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise Failure(done.stdout)
    return done.stdout


def torch_requirements() -> dict[str, str]:
    """Return what to ask pip for, to get the oldest torch that pyproject.toml allows, and the newest."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (allowed,) = (text for text in project["dependencies"] if re.match(r"torch\b", text))
    oldest = allowed.partition(">=")[2].partition(",")[0]
    return {"oldest": f"torch=={oldest}.*", "newest": allowed}


def environments(pythons: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the package, the interpreter and the age of torch of each environment."""
    yield from (("wheel", python, "newest") for python in pythons)
    yield "sdist", pythons[0], "newest"
    yield from (("wheel", python, "oldest") for python in pythons)


def attempt(package: Path, python: str, torch: str, version: str) -> dict[str, str]:
    """Install a package and a torch into an empty environment, and use it there in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="sdlcore-release-") as name:
        folder = Path(name)
        run(python, "-m", "venv", "environment", folder=folder)
        inside = folder / "environment/bin/python"
        run(inside, "-m", "pip", "install", "--quiet", f"{package}[plot]", torch, folder=folder)
        (folder / "empty").mkdir()
        lines_of_output = run(inside, "-c", USE, folder=folder / "empty").splitlines()
    # libraries may print after it, at the interpreter's end
    versions: dict[str, str] = json.loads(next(line for line in reversed(lines_of_output) if line.startswith("{")))
    if versions["sdlcore"] != version:
        raise Failure(f"sdlcore.__version__ is {versions['sdlcore']}, but version.py has {version}\n")
    return versions


def main(pythons: Sequence[str]) -> int:
    """Test dist/ in every environment, print the rows of the table in CONTRIBUTING.md, and return how many failed."""
    version = runpy.run_path(str(REPOSITORY / "src/sdlcore/version.py"))["__version__"]
    dist = REPOSITORY / "dist"
    packages = {"wheel": dist / f"sdlcore-{version}-py3-none-any.whl", "sdist": dist / f"sdlcore-{version}.tar.gz"}
    requirements, failed = torch_requirements(), 0
    for package, python, age in environments(pythons):
        begun, versions, result = time.monotonic(), {"python": python, "torch": requirements[age]}, "passed"
        try:
            versions = attempt(packages[package], python, requirements[age], version)
        except Failure as failure:
            print(failure, file=sys.stderr)
            result, failed = "failed", failed + 1
        cells = (version, package, versions["python"], versions["torch"], result, f"{time.monotonic() - begun:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
