"""Figure 8, made from files on disk."""

import numpy as np
import pytest

from tests.sdlstudy.products import studies
from tests.sdlstudy.rendering.test_figures import bench
from tests.stores import write_store

CONFIG = studies.alone({"seeds": [7, 8], "figures": {"figure8": {"source": "lrb_3d"}}})


def write_bench(folder):
    files = CONFIG.files()
    W, samples, coefficients = bench()
    store = folder / files.store("lrb_3d", 7, "train")
    write_store(store, input=samples, features=coefficients)
    studies.write_matrix(folder / files.feature_matrix("lrb_3d", 7), W)
    return store


def test_it_is_of_the_first_seed_and_has_no_table(tmp_path):
    write_bench(tmp_path)
    assert studies.pictured(tmp_path, studies.make(CONFIG, "figure8", tmp_path), "figure8") is None
    assert list(CONFIG.figures.figure8.drawn(CONFIG)) == [("lrb_3d", 7)]
    assert CONFIG.bench_seeds("lrb_3d") == [7]
    assert CONFIG.all_cells() == []


def test_a_store_without_features_is_refused(tmp_path):
    store = write_bench(tmp_path)
    write_store(store, input=np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"seed7/train\.h5: has no features, expected the store of a bench"):
        studies.make(CONFIG, "figure8", tmp_path)
