"""A new metric takes two files: it is computed in one, and declared in the other (docs/extending.md)."""

import os
import shutil
import subprocess
import sys

from tests.conftest import REPOSITORY

RECIPE = {
    "evaluation/evaluate.py": (
        '        "dead_fraction": float((~fired).float().mean()),\n',
        '        "alive": float(fired.sum()),\n',
    ),
    "evaluation/metrics.py": (
        '    Metric("dead_fraction", "Dead", "fraction of latents that never fire", LOWER, EVERY_RUN, needed=True),\n',
        '    Metric("alive", "Alive", "number of latents that fire", HIGHER, EVERY_RUN, digits=1, effect=True),\n',
    ),
}
"""File -> the line after which another one is put, and that line."""

EVALUATE = """
import json
from pathlib import Path

import numpy as np
import scipy.sparse

from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import create_store
from sdlcore.evaluation.evaluate import GroundTruth, evaluate
from sdlcore.evaluation.metrics import markdown
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.random_streams import stream
from sdlcore.run import ModelConfig
from sdlcore.study.report.effects import effect_table
from sdlcore.study.results.tables import read_csv
from tables import main

x = np.abs(stream(0, "x").standard_normal((50, 6)))
with create_store("store.h5", {}) as writer:
    writer.append(x, features=scipy.sparse.csr_array(x))
truth = GroundTruth(np.eye(6, dtype=np.float32), None, np.array([0, 1]))
spec = {
    "name": "trial",
    "seeds": [0],
    "sources": {"bench": {"lrb": {"n": 6, "n_p": 6, "run": {"n_q": 8}}}},
    "methods": {"relu": {}},
    "protocols": {"best": {"run": {"steps": 1}, "methods": {}}},
    "anchorings": {"ground_truth": {"n_anchors": 2, "lambda_anchor": 0.1}},
    "tables": {
        "table1": {
            "source": "lrb", "methods": ["relu"], "anchorings": ["none", "ground_truth"], "protocols": ["best"]
        }
    },
}
paths = []
with ActivationStore("store.h5") as store:
    for anchoring in ("none", "ground_truth"):
        found = evaluate(SparseCoder(ModelConfig("sae", "relu", 8), (6,), (6,)).eval(), store, truth, stream(0, "c"))
        run = {"source": "lrb", "method": "relu", "protocol": "best", "anchoring": anchoring, "seed": 0}
        paths.append(Path(f"{anchoring}.json"))
        paths[-1].write_text(json.dumps({"run": run, **found._asdict()}))
outputs = {name: Path(name) for name in ("csv", "markdown", "latex", "effects", "runs")}
main(table="table1", spec=spec, paper=Path(PAPER), metrics=paths, **outputs)
print(markdown())
print(effect_table(read_csv("effects"))["groups"])
"""


def test_a_metric_of_two_lines_in_two_files_is_in_metrics_tables_effects_the_report_and_the_documentation(tmp_path):
    package = tmp_path / "src/sdlcore"
    # with what is compiled, which saves seconds, but for what another process is compiling
    shutil.copytree(REPOSITORY / "src/sdlcore", package, ignore=shutil.ignore_patterns("*.pyc.*", "*.tmp.*"))
    assert len(RECIPE) <= 2
    for name, (after, line) in RECIPE.items():
        text = (package / name).read_text()
        assert text.count(after) == 1, f"{name} has changed: the recipe no longer fits"
        (package / name).write_text(text.replace(after, after + line))
    code = EVALUATE.replace("PAPER", repr(str(REPOSITORY / "resources/paper/table1.csv")))
    path = os.pathsep.join([str(tmp_path / "src"), str(REPOSITORY / "workflow/scripts")])
    environment, command = os.environ | {"PYTHONPATH": path}, [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| `alive` | number of latents that fire | higher | every run |" in done.stdout
    assert "('Alive', ['held-out'])" in done.stdout
    assert '"alive": ' in (tmp_path / "none.json").read_text()
    heads = {name: (tmp_path / name).read_text().splitlines()[0].split(",") for name in ("runs", "csv")}
    assert "alive" in heads["runs"]
    assert {"alive_mean", "alive_std"} <= set(heads["csv"])
    assert ",alive,1,0.0," in (tmp_path / "effects").read_text()
