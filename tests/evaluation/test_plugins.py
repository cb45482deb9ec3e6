"""Metrics of plugins: computed only for their kind of runs, whose identity includes their code."""

from importlib import metadata

import numpy as np
import pytest
import scipy.sparse
import torch

from sdlcore.config import ModelConfig
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import References
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.evaluation.metrics import BENCH, EVERY_RUN
from sdlcore.evaluation.plugin_metrics import metric, plugins_of_metrics
from sdlcore.model.coder import SparseCoder
from sdlcore.plugins import registry as plugins
from sdlcore.storage.files import sha256_of
from sdlstudy.results.tables import effect_metrics, table_columns
from tests.stores import write_store

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def declared():
    @metric("bias_norm", "Bias", "norm of the decoder's bias", runs=EVERY_RUN, effect=True)
    def bias_norm(judged):
        return judged.model.b_dec.norm()

    @metric("rows", "Rows", "samples of a bench", runs=BENCH, digits=0, in_tables=False)
    def rows(judged):
        return sum(len(x_p) for x_p, _ in judged.samples()) if judged.truth is not None else None


@pytest.fixture
def store(tmp_path):
    x = np.abs(np.random.default_rng(0).standard_normal((50, 6))).astype(np.float32)
    write_store(tmp_path / "store.h5", x, features=scipy.sparse.csr_array(x))
    with ActivationStore(tmp_path / "store.h5") as opened:
        yield opened


MODEL = SparseCoder.from_config(ModelConfig("sae", "relu", 8), (6,), (6,), torch.Generator().manual_seed(0)).eval()
TRUTH = GroundTruth(References(np.eye(6, dtype=np.float32)), np.zeros(0, np.int64))


def test_runs_have_the_metrics_that_are_declared_for_them(declared, store):
    judged = evaluate_coder(MODEL, store, TRUTH, np.random.default_rng(0)).metrics
    assert (judged["bias_norm"], judged["rows"]) == (0.0, 50.0)
    alone = evaluate_coder(MODEL, store).metrics
    assert "bias_norm" in alone
    assert "rows" not in alone


def test_tables_and_effects_have_them_as_they_are_declared(declared):
    assert "bias_norm_mean" in table_columns()
    assert "rows_mean" not in table_columns()
    assert "bias_norm" in effect_metrics()


def test_other_metrics_are_what_they_were(store, registry):
    before = evaluate_coder(MODEL, store, TRUTH, np.random.default_rng(0)).metrics
    metric("bias_norm", "Bias", "norm of the decoder's bias", runs=EVERY_RUN)(lambda judged: 1.0)
    after = evaluate_coder(MODEL, store, TRUTH, np.random.default_rng(0)).metrics
    assert after == before | {"bias_norm": 1.0}


def test_their_file_counts_for_the_runs_that_have_them():
    assert plugins_of_metrics(judged=True, bench=True) == {}
    metric("rows", "Rows", "samples of a bench", runs=BENCH)(lambda judged: 1.0)
    assert plugins_of_metrics(judged=True, bench=True) == {"rows": sha256_of(__file__)}
    assert plugins_of_metrics(judged=True, bench=False) == plugins_of_metrics(judged=False, bench=False) == {}


def test_metrics_of_installed_packages_count(tmp_path, monkeypatch):
    text = "from sdlcore.evaluation.plugin_metrics import metric\nmetric('own', 'Own', 'own')(lambda judged: 1.0)\n"
    (tmp_path / "measuring_plugin.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    point = metadata.EntryPoint("one", "measuring_plugin", plugins.GROUP)
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [point])
    plugins._import_installed.cache_clear()
    assert plugins_of_metrics(judged=False, bench=False) == {"own": sha256_of(tmp_path / "measuring_plugin.py")}
    plugins._import_installed.cache_clear()
