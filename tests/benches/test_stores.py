"""The stores written by workflow/scripts/samples.py, with every option of a bench separately."""

import numpy as np
import pytest

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, synthesise
from sdlcore.data.reading import ActivationStore
from sdlcore.random_streams import stream
from sdlcore.storage.checksums import write_with_checksum
from tests.conftest import script

N, N_P, N_R = 12, 10, 8
PLAIN = {
    **{"train_samples": 9000, "test_samples": 50, "sparsity": 0.8, "c_min": 0.1, "beta": 1.0, "hierarchy": None},
    **{"frequency_exponent": 0.0, "correlation": 0.0, "group_size": 4, "noise": 0.0},
}


@pytest.fixture(scope="module")
def draw(tmp_path_factory):
    """Run the script; return input, target and coefficients of both stores."""
    folder = tmp_path_factory.mktemp("bench")
    W = {}
    for side, d in (("p", N_P), ("r", N_R)):
        columns = stream(0, side).standard_normal((d, N)).astype(np.float32)
        W[f"W_{side}"] = columns / np.linalg.norm(columns, axis=0)
    write_with_checksum(folder / "W.safetensors", W, {})

    def drawn(**options):
        paths = {part: folder / f"{part}.h5" for part in ("train", "test")}
        script("samples")(
            bench=BenchSamples.from_dict(PLAIN | options), seed=5, feature_matrix=folder / "W.safetensors", **paths
        )
        splits = {}
        for part, path in paths.items():
            with ActivationStore(path) as store:
                splits[part] = store.read("input"), store.read("target"), store.features().toarray()
        return W, splits

    return drawn


def test_without_options_it_is_the_paper_s_bench_from_the_streams_that_it_always_had(draw):
    W, splits = draw()
    for part, rows in (("train", [8192, 808]), ("test", [50])):
        rng = stream(5, "samples", part)
        x = np.vstack([coefficients(size, N, 0.8, rng, 0.1, 1.0).toarray() for size in rows])
        assert (splits[part][2] == x).all()
    x = coefficients(50, N, 0.8, stream(5, "samples", "test"), 0.1, 1.0)
    assert (splits["test"][0] == synthesise(x, W["W_p"])).all()
    assert (splits["test"][1] == synthesise(x, W["W_r"])).all()


def test_noise_changes_no_coefficient_and_is_another_in_input_and_target(draw):
    (_, plain), (_, noisy) = draw(), draw(noise=0.5)
    for part in plain:
        assert (plain[part][2] == noisy[part][2]).all()
    added = [noisy["train"][side] - plain["train"][side] for side in (0, 1)]
    energy = N * 0.2 * (0.1**2 + 2 * 0.1 + 2)
    for noise in added:
        assert np.square(noise).sum(axis=1).mean() == pytest.approx(0.25 * energy, rel=0.05)
    assert abs(np.corrcoef(added[0][:, 0], added[1][:, 0])[0, 1]) < 5 / np.sqrt(9000)
    assert not np.array_equal(added[0][:50], noisy["test"][0] - plain["test"][0])


def test_frequencies_and_groups_reach_the_stores(draw):
    _, splits = draw(frequency_exponent=0.8, correlation=1.0)
    active = splits["train"][2] > 0
    assert active.mean() == pytest.approx(0.2, abs=0.02)
    assert active[:, 0].mean() > 3 * active[:, -1].mean()
    # in a group, a rarer feature is active only together with the more frequent ones
    assert not (active[:, 3] & ~active[:, 0]).any()
    assert (active[:, 4] & ~active[:, 0]).any()
