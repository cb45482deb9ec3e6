"""Run configurations of the pipeline on a commit and on the working tree, in folders of their own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "cache/same"
"""Folder of the versions' runs. Runs of commits are kept, so that a base runs once."""
CONFIGURATIONS = ("config", "tests/same")
"""Folders of configurations, searched with their subfolders."""
WORDS = FOLDER / "words"
"""Model and text of the configuration streams. Both versions read the same files."""


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


def configurations(folder: Path) -> dict[str, Path]:
    """Return the configurations of a version by name. A file without a name is merged over others and is left out."""
    paths = [path for name in CONFIGURATIONS for path in sorted((folder / name).rglob("*.yaml"))]
    names = {path: yaml.safe_load(path.read_text()).get("name") for path in paths}
    return {name: path for path, name in names.items() if name}


def run(folder: Path, configuration: str) -> Path:
    """Run a version's configuration to its end, unless that was done before, and return its results.

    A version from before the configuration was added runs the file of the working tree.
    """
    paths = configurations(REPOSITORY) | configurations(folder)
    if configuration not in paths:
        sys.exit(f"no configuration is called {configuration}; there are {', '.join(sorted(paths))}")
    path, results = paths[configuration], folder / "results" / configuration
    finished = folder / f"finished-{configuration}"
    if not finished.exists():
        cache = folder / "cache"
        if not cache.exists():
            cache.symlink_to(os.path.relpath(REPOSITORY / "cache", folder))
        if str(WORDS.relative_to(REPOSITORY)) in path.read_text():
            _save_words()
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


def _save_words() -> None:
    """Write the model and the text of the configuration streams, unless they exist."""
    from tests.extraction.tiny_llama import documents, save_tiny_llama  # only here: it loads transformers

    text = WORDS / "text.json"
    if not text.exists():
        save_tiny_llama(WORDS / "model")
        text.write_text(json.dumps(documents(400)))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
