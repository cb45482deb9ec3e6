"""Figure 8, made from files on disk."""

import numpy as np
import pytest
import scipy.sparse
from matplotlib.text import Text

from tests.sdlstudy.products import studies
from tests.stores import write_store

CONFIG = studies.alone({"seeds": [7, 8], "figures": {"figure8": {"source": "lrb_3d"}}})


def write_bench(folder):
    """Write a bench of four features; return its store, and its number of samples without any active feature."""
    rng, files = np.random.default_rng(0), CONFIG.files()
    W = rng.standard_normal((3, 4))
    W /= np.linalg.norm(W, axis=0)
    coefficients = rng.exponential(size=(200, 4)) * (rng.random((200, 4)) < 0.4)
    store = folder / files.store("lrb_3d", 7, "train")
    write_store(store, input=coefficients @ W.T, features=scipy.sparse.csr_array(coefficients))
    studies.write_matrix(folder / files.feature_matrix("lrb_3d", 7), W)
    return store, int((coefficients.max(axis=1) == 0).sum())


def test_it_shows_every_feature_of_the_first_seed_and_has_no_table(tmp_path):
    _, silent = write_bench(tmp_path)
    files = studies.make(CONFIG, "figure8", tmp_path)
    assert studies.pictured(tmp_path, files, "figure8") is None
    with studies.chdir(tmp_path):
        texts = "\n".join(text.get_text() for text in CONFIG.figures.figure8.draw(None, files).findobj(Text))
    for text in ("Ground-truth features ($n$ = 4)", "$w_{4}$ largest", f"no active feature ({silent}, at the origin)"):
        assert text in texts
    assert CONFIG.bench_seeds("lrb_3d") == [7]
    assert CONFIG.all_cells() == []


def test_a_store_without_features_is_refused(tmp_path):
    store, _ = write_bench(tmp_path)
    write_store(store, input=np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"seed7/train\.h5: has no features, expected the store of a bench"):
        studies.make(CONFIG, "figure8", tmp_path)
