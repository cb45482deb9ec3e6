import numpy as np
import pytest

import sdlcore as sdl
from sdlcore.api.standard import STANDARD


def test_a_standard_bench_is_the_same_every_time_and_has_a_second_representation():
    first, again = sdl.standard_bench("lrb-s"), sdl.standard_bench("lrb-s")
    assert np.array_equal(first.W_p, again.W_p)
    assert first.W_p.shape == first.W_r.shape == (96, 128)
    assert np.array_equal(first.sample(50)[0], again.sample(50)[0])


@pytest.mark.parametrize("name", ["lrb-s", "lrb-m"])
def test_features_keep_the_bound_on_interference(name):
    bench = sdl.standard_bench(name)
    gram = bench.W_p.T @ bench.W_p - np.eye(bench.W_p.shape[1])
    assert gram.max() <= STANDARD[name]["max_interference"] + 1e-6
    assert bench.settings.test_samples == 10_000


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="no standard bench lrb-x; expected one of lrb-s, lrb-m, lrb-l"):
        sdl.standard_bench("lrb-x")
