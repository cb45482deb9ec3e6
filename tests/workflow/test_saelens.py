"""A synthetic model of SAELens as a source: checked, planned, sampled, trained on, and sampled anew if it changes."""

import numpy as np
import pytest

from sdlcore.data.reading import ActivationStore
from tests.benches.test_saelens_models import N_P, N, written

RUN = {"n_q": 16, "steps": 5, "batch_size": 64}


@pytest.mark.slow
def test_a_synthetic_model_is_planned_sampled_and_trained_on(checkout):
    folder = checkout.path / "their model"

    def change(**settings):
        source = {"model": folder.name, "n": N, "n_p": N_P, "train_samples": 700, "test_samples": 150, "run": RUN}
        return {"name": "their", "sources": {"saelens": {"theirs": source | settings}}}

    missing = checkout.snakemake("-n", change=change(), check=False).stdout
    assert "sources.saelens.theirs: no such file: their model/synthetic_model_config.json" in missing
    written(folder)
    planned = checkout.plan(change=change())
    assert planned.of("synth") == ["source=theirs, seed=0"]
    assert planned.of("make_own_theirs")
    metrics = "results/their/runs/theirs/topk/best/none/seed0/metrics.json"
    checkout.snakemake(metrics, change=change())
    with ActivationStore(checkout.path / "results/their/activations/theirs/seed0/train.h5") as store:
        assert store.read("input").shape == (700, N_P)
    assert not checkout.plan(metrics, change=change()).jobs
    written(folder, bias=np.zeros(N_P))
    assert checkout.plan(metrics, change=change()).rules() == {"synth", "anchors", "train", "evaluate"}
