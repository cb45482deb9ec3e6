"""Figure 4, made from files on disk."""

import numpy as np
import pytest

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients
from sdlcore.random_streams import stream
from tests.sdlstudy.products import studies

CONFIG = studies.alone({"seeds": [3, 4, 5, 6], "figures": {"figure4": {"source": "lrb_3d", "method": "topk_3d"}}})


def spurious(seed):
    """Return four features, samples, and an autoencoder of three axes, turned at random, with zero loss."""
    W = (np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)).T.astype(np.float32)
    A = np.linalg.qr(stream(seed, "A").standard_normal((3, 3)))[0].astype(np.float32)
    return W, coefficients(300, 4, BenchSamples(sparsity=0.5), stream(seed, "x")), np.vstack([A, -A])


def write_runs(folder):
    """Write three runs with zero loss, and one with some loss that recovers every feature."""
    for cell in CONFIG.figures.figure4.cells(CONFIG):
        W, x, both = spurious(cell.seed)
        studies.write_run(folder, CONFIG.files(), cell, W, (W.T, W.T) if cell.seed == 6 else (both, both), x)


@pytest.fixture(scope="module")
def zero_loss(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure4")
    write_runs(folder)
    return studies.pictured(folder, studies.make(CONFIG, "figure4", folder), "figure4")


def test_it_lists_every_seed_and_shows_the_one_that_recovers_fewest(zero_loss):
    rows = zero_loss
    assert rows["seed"].tolist() == [3, 4, 5, 6]
    assert rows["near_zero"].tolist() == [True, True, True, False]
    assert rows["recovered_decoder"].tolist()[-1] == 4
    recovered = (rows["recovered_encoder"] + rows["recovered_decoder"])[rows["near_zero"]]
    assert rows["shown"].sum() == 1
    assert recovered[rows["shown"]].item() == recovered.min()
    for seed in (3, 4, 5):
        W, _, both = spurious(seed)
        row = rows[rows["seed"] == seed].iloc[0]
        assert [row[f"encoder_w{d}"] for d in range(1, 5)] == pytest.approx(np.abs(both @ W).max(axis=0), abs=1e-5)
