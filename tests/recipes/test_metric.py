"""A new metric takes changes in two files: its computation, and its declaration (docs/extending.md)."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

RECIPE = {
    "evaluation/samples.py": (
        '        "dead_fraction": float((~fired).float().mean()),\n',
        '        "alive": float(fired.sum()),\n',
    ),
    "evaluation/metrics.py": (
        '    Metric("dead_fraction", "Dead", "fraction of latents that never fire", '
        "Better.LOWER, EVERY_RUN, needed=True),\n",
        '    Metric("alive", "Alive", "number of latents that fire", '
        "Better.HIGHER, EVERY_RUN, digits=1, effect=True),\n",
    ),
}
"""File -> a line, and the line to insert after it."""

EVALUATE = """
import json
from pathlib import Path

import numpy as np
import scipy.sparse

from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import References
from sdlcore.data.writing import resume_store
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream
from sdlcore.config import ModelConfig
from sdlstudy.configuration.loading import validate
from sdlstudy.report.page import effect_table
from sdlstudy.results.tables import read_csv
from docs.references import metrics_page

x = np.abs(stream(0, "x").standard_normal((50, 6)))
with resume_store("store.h5", {}, "float32") as writer:
    writer.append(x, features=scipy.sparse.csr_array(x))
truth = GroundTruth(References(np.eye(6, dtype=np.float32)), np.array([0, 1]))
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
config = validate(spec)
table, files = config.products()["table1"], config.files(PAPER)
with ActivationStore("store.h5") as store:
    for cell in table.cells(config):
        model = SparseCoder.from_config(ModelConfig("sae", "relu", 8), (6,), (6,)).eval()
        found = evaluate_coder(model, store, truth, stream(0, "c"))
        path = Path(files.metrics(cell))
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"run": vars(cell), **found._asdict()}))
table.make(files)
print(metrics_page())
print("effects:", *effect_table(read_csv(files.table("table1_effects"))).frame.columns)
"""


@pytest.mark.slow
def test_a_metric_of_two_lines_in_two_files_is_in_metrics_tables_effects_the_report_and_the_documentation(tmp_path):
    package = tmp_path / "src/sdlcore"
    # with compiled files, which saves seconds, except files that another process is compiling
    shutil.copytree(REPOSITORY / "src/sdlcore", package, ignore=shutil.ignore_patterns("*.pyc.*", "*.tmp.*"))
    assert len(RECIPE) <= 2
    for name, (after, line) in RECIPE.items():
        text = (package / name).read_text()
        assert text.count(after) == 1, f"{name} has changed: the recipe no longer fits"
        (package / name).write_text(text.replace(after, after + line))
    code = EVALUATE.replace("PAPER", repr(str(REPOSITORY / "resources/paper")))
    # the package is the copy's, the page generator the repository's
    path = os.pathsep.join([str(tmp_path / "src"), str(REPOSITORY), str(REPOSITORY / "workflow")])
    environment, command = os.environ | {"PYTHONPATH": path}, [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| `alive` | number of latents that fire | higher | every run |" in done.stdout
    assert "Alive" in done.stdout.partition("effects:")[2]
    results = tmp_path / "results/trial"
    assert '"alive": ' in (results / "runs/lrb/relu/best/none/seed0/metrics.json").read_text()
    tables = {
        name: (results / f"tables/{name}.csv").read_text() for name in ("table1", "table1_runs", "table1_effects")
    }
    heads = {name: text.splitlines()[0].split(",") for name, text in tables.items()}
    assert "alive" in heads["table1_runs"]
    assert {"alive_mean", "alive_std"} <= set(heads["table1"])
    assert ",alive,1,0.0," in tables["table1_effects"]
