"""Figure 5, made from files on disk."""

import numpy as np
import pytest

from sdlcore.random_streams import stream
from sdlcore.sources.bench.samples import coefficients
from sdlcore.sources.bench.settings import Hierarchy
from sdlstudy.rendering.sentences import figure5_sentences
from tests.sdlstudy.products import studies

HIERARCHY = Hierarchy(parents=2, children=3)
CONFIG = studies.alone(
    {
        "seeds": [0, 1],
        "sources": {
            "bench": {"families": {"n": 8, "n_p": 10, "hierarchy": {"parents": 2, "children": 3}, "run": {"n_q": 8}}}
        },
        "methods": {"absorbing": {"activation": "relu"}, "ideal": {"activation": "relu"}},
        "figures": {"figure5": {"source": "families", "methods": ["absorbing", "ideal"]}},
    }
)


def hierarchical(seed):
    n = HIERARCHY.size
    W = np.linalg.qr(stream(seed, "W").standard_normal((10, n)))[0].astype(np.float32)
    return W, coefficients(800, n, 0.85, stream(seed, "x"), 1.0, 0.25, HIERARCHY)


def write_runs(folder):
    """Two methods, two seeds: true features; and silent children, or children that carry their silent parent."""
    for cell in CONFIG.figures.figure5.cells_without_metrics(CONFIG):
        W, x = hierarchical(cell.seed)
        W_enc, W_dec = W.T.copy(), W.T.copy()
        if cell.method == "absorbing":
            for parent in range(HIERARCHY.parents - cell.seed):
                W_enc[parent] = 0
                W_dec[list(HIERARCHY.family(parent))] += W[:, parent]
        studies.write_run(folder, CONFIG.files(), cell, W, (W_enc, W_dec), x)


@pytest.fixture(scope="module")
def absorbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure5")
    write_runs(folder)
    return studies.pictured(folder, studies.make(CONFIG, "figure5", folder), "figure5")


def test_it_tells_dictionaries_that_absorb_from_those_that_do_not(absorbed):
    pairs = absorbed
    assert len(pairs) == 2 * 2 * 6
    shares = pairs.groupby(["method", "seed"])["absorbed"].mean()
    assert shares.to_dict() == {("absorbing", 0): 1.0, ("absorbing", 1): 0.5, ("ideal", 0): 0.0, ("ideal", 1): 0.0}


def test_it_says_what_its_numbers_say(absorbed):
    pairs = absorbed
    bench = CONFIG.source("families")
    first, absorbing, ideal = figure5_sentences(pairs, bench)
    assert "2 of the 8 features are parents of 3 children each" in first
    assert absorbing.startswith("absorbing: absorption 0.75 (by seed 1.00, 0.50); 0.00 of the pairs are lost.")
    assert ideal.startswith("ideal: absorption 0.00 (by seed 0.00, 0.00)")
    assert "fire in 1.00 of the samples in which they should and write 1.00 of the parent" in ideal
    (_, single) = figure5_sentences(pairs[(pairs["method"] == "ideal") & (pairs["seed"] == 0)], bench)
    assert single.startswith("ideal: absorption 0.00; ")
