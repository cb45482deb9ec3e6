"""A copy of the package to which a recipe of docs/extending.md is applied, and the identity of its runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from sdlcore.data.references import References, save_references
from sdlcore.data.writing import resume_store
from tests.conftest import REPOSITORY

SCRIPTS = REPOSITORY / "workflow/scripts"
RUNS = """
import json
from pathlib import Path

from sdlstudy.configuration.loading import configure, load_yaml
from sdlstudy.settings.cells import run_settings

folder, found = Path(CONFIG), {}
default = load_yaml(folder / "config.yaml")
for name in ("config", "paper"):
    study = configure({} if name == "config" else load_yaml(folder / f"{name}.yaml"), default)
    for cell in study.all_cells():
        key = "/".join([name, cell.source, cell.method, cell.protocol, cell.anchoring, str(cell.seed)])
        found[key] = run_settings(study, cell).given()
print(json.dumps(found))
"""
"""Prints the settings of each run of the default and the paper's configuration."""


class Copy:
    """A copy of the package, and processes that import it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.touched: set[str] = set()
        # with compiled files, which saves seconds, except files that another process is compiling
        ignored = shutil.ignore_patterns("*.pyc.*", "*.tmp.*")
        for package in ("src/sdlcore", *(f"workflow/{name}" for name in ("sdlstudy", "offline", "peers"))):
            shutil.copytree(REPOSITORY / package, path / package, ignore=ignored)
        (path / "config/schema").mkdir(parents=True)

    def add(self, name: str, text: str) -> None:
        """Write a new module."""
        assert not (self.path / "src/sdlcore" / name).exists()
        (self.path / "src/sdlcore" / name).write_text(text)
        self.touched.add(name)

    def insert(self, name: str, before: str, text: str) -> str:
        """Insert text before a text that a module contains once; return the original module."""
        module = self.path / "src/sdlcore" / name
        source = module.read_text()
        assert source.count(before) == 1, f"{name} has changed: the recipe no longer fits"
        module.write_text(source.replace(before, text + before))
        self.touched.add(name)
        return source

    def run(self, *arguments: object) -> str:
        """Run Python with arguments in the copy, and return its output."""
        path = os.pathsep.join([str(self.path / "src"), str(self.path / "workflow"), str(SCRIPTS)])
        command = [sys.executable, *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": path}
        done = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self) -> dict[str, Any]:
        """Return the settings that identify each run."""
        runs: dict[str, Any] = json.loads(self.run("-c", RUNS.replace("CONFIG", repr(str(REPOSITORY / "config")))))
        return runs

    def schema(self) -> str:
        """Regenerate the schema, as docs/extending.md describes, and return it."""
        self.run("-m", "sdlstudy.configuration.schema")
        return (self.path / "config/schema/config.schema.yaml").read_text()

    def leave_run(self, script: str, settings: dict[str, Any]) -> Path:
        """Run a workflow script that finds a dictionary, then its evaluation; return the folder of the run."""
        rng, features = np.random.default_rng(0), np.eye(6, dtype=np.float32)
        for part in ("train", "test"):
            x = rng.random((200, 6)) * (rng.random((200, 6)) < 0.3)
            with resume_store(self.path / f"{part}.h5", {}, "float32") as writer:
                writer.append(x.astype(np.float32), features=scipy.sparse.csr_array(x))
        save_references(self.path / "references.safetensors", References(features), {})
        settings_option, model = ["--settings", json.dumps(settings)], ["--model", "run/model.safetensors"]
        self.run(SCRIPTS / f"{script}.py", *settings_option, "--seed", 0, "--store", "train.h5", "--out", "run")
        judged = ["--cell", "trial", "trial", "best", "none", 0, *model, "--trained-on", "train.h5"]
        judged += ["--store", "test.h5", "--references", "references.safetensors", "--output", "run/metrics.json"]
        self.run(SCRIPTS / "evaluate.py", *settings_option, *judged)
        return self.path / "run"
