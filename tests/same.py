"""Run the pipeline on two versions of the code, and name every number that differs: `make same BASE=<commit>`.

A change that should change nothing, such as a move of modules, is judged by this. Tensors, activations, metrics,
histories and tables are compared exactly. Left out are provenance and whatever hangs on a clock.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import yaml

from tests.conftest import REPOSITORY
from tests.stores import contents

FOLDER = REPOSITORY / "cache/same"
"""Folder of the versions' runs. Runs of commits are kept, so that a base runs once."""
WHO_MADE_IT = {"provenance", "code", "versions", "inputs", "crc32", "device", "threads"}
"""JSON keys that contain provenance."""
TIMED = ("solvers.md",)
"""Tables with seconds in some cells; the CSV file beside each is compared instead."""


def check_out(commit: str) -> Path:
    """Return a folder with the files of a commit, reused from an earlier call if possible."""
    name = _git("rev-parse", "--verify", f"{commit}^{{commit}}").strip()
    folder = FOLDER / name
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", name], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", str(part)], input=archive.stdout, check=True)
        part.rename(folder)
    return folder


def copy_present() -> Path:
    """Return a folder with the current files of the working tree, committed or not, without results."""
    folder = FOLDER / "present"
    shutil.rmtree(folder, ignore_errors=True)
    for name in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        source, copy = REPOSITORY / name, folder / name
        if name and (source.is_file() or source.is_symlink()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    return folder


def run(folder: Path, configuration: str) -> Path:
    """Run a version's configuration to its end, unless that was done before, and return its results."""
    paths = {yaml.safe_load(path.read_text()).get("name"): path for path in sorted((folder / "config").glob("*.yaml"))}
    if configuration not in paths:
        sys.exit(f"no configuration is called {configuration}; there are {', '.join(filter(None, paths))}")
    path, results = paths[configuration], folder / "results" / configuration
    finished = folder / f"finished-{configuration}"
    if not finished.exists():
        cache = folder / "cache"
        if not cache.exists():
            cache.symlink_to(os.path.relpath(REPOSITORY / "cache", folder))
        snakemake = "-m snakemake --cores all --quiet reason host --rerun-incomplete"
        command = [sys.executable, *snakemake.split()]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        if path.name != "config.yaml":  # config.yaml is the default, on which other files are laid
            command += ["--configfile", str(path)]
        with (folder / f"{configuration}.log").open("w") as log:
            done = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log)
        if done.returncode:
            sys.exit(f"{configuration} failed: see {log.name}")
        finished.touch()
    return results


def outputs_of(results: Path) -> dict[str, Any]:
    """Return the comparable content of a run's files, by name."""
    return {
        str(file.relative_to(results)): content
        for file in sorted(results.rglob("*"))
        if file.is_file() and (content := _content(file)) is not None
    }


def differences(base: Any, present: Any, place: str = "") -> Iterator[str]:
    """Yield a line for each difference, with its path."""
    if isinstance(base, dict) and isinstance(present, dict):
        for key in sorted(base.keys() | present.keys()):
            here = f"{place}: {key}" if place else key
            if key not in present:
                yield f"{here} is missing"
            elif key not in base:
                yield f"{here} is new"
            else:
                yield from differences(base[key], present[key], here)
    elif base != present:
        yield f"{place}: {_short(base)} became {_short(present)}"


def _content(file: Path) -> Any:
    """Return a file's content without provenance and durations, or None if nothing in it is compared."""
    if file.name in TIMED:
        return None
    match file.suffix:
        case ".safetensors":
            with safetensors.safe_open(file, framework="numpy") as tensors:
                values = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
                metadata = {name: json.loads(text) for name, text in (tensors.metadata() or {}).items()}
            return {name: (str(v.dtype), v.shape, v.tobytes()) for name, v in values.items()} | _without(metadata)
        case ".h5":
            return {name: value for name, value in contents(file).items() if not name.endswith("@provenance")}
        case ".json":
            return _without(json.loads(file.read_text()))
        case ".csv":
            with file.open(newline="") as rows:
                table = enumerate(csv.DictReader(rows))
                return {f"row {n}": {k: v for k, v in row.items() if "seconds" not in (k or "")} for n, row in table}
        case ".md" | ".tex":
            return file.read_text()
    return None


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner) for key, inner in value.items() if key not in WHO_MADE_IT and "seconds" not in key}
    return [_without(inner) for inner in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:80]}... ({len(text)} characters)"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(base: str, *configurations: str) -> None:
    """Run the given configurations (default: ``tiny``) on both versions, and exit with 1 if anything differs."""
    before, now = check_out(base), copy_present()
    wrong = []
    for configuration in configurations or ("tiny",):
        old, new = outputs_of(run(before, configuration)), outputs_of(run(now, configuration))
        wrong += [f"{configuration}: {line}" for line in differences(old, new)]
        print(f"{configuration}: {len(old)} files compared")
    print("\n".join(wrong) or "the same")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tests.same BASE [CONFIGURATION ...]")
    main(*sys.argv[1:])
