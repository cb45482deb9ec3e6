"""All libraries are timed in the same state, with the wanted number of active latents."""

import numpy as np
import pytest
import torch

from benchmarks.cases import ARCHETYPES, DENSE, METHODS, SPARSE, Setting
from benchmarks.libraries.sdlcore_steps import make
from benchmarks.states import CLOSE, TRIES, bound_for, calibrate, dictionary, load_state, save_dictionary, weights
from benchmarks.timing import L0_TOLERANCE, REPEATED
from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, synthesise
from sdlcore.random_streams import stream
from sdlcore.sparse.kernels import tiles
from tests.int8 import needs_int8

DIMENSION, FEATURES, LATENTS = 48, 60, 2000
OTHERS = {"bfloat16": [pytest.mark.slow], "int8": [pytest.mark.slow, needs_int8]}


@pytest.fixture(scope="module")
def sample():
    W = stream(0, "W").standard_normal((DIMENSION, FEATURES)).astype(np.float32)
    W /= np.linalg.norm(W, axis=0)
    x = synthesise(coefficients(4000, FEATURES, BenchSamples(sparsity=0.9), stream(0, "x")), W)
    return W, x, dictionary(W, LATENTS, seed=0)


@pytest.mark.parametrize("l0", [SPARSE, DENSE // 3])
def test_as_many_latents_are_active_as_set_on_samples_not_calibrated_on(sample, l0):
    _, x, rows = sample
    bound = bound_for(x[:2000], rows, l0)
    assert (x[2000:] @ rows.T > bound).sum(1).mean() == pytest.approx(l0, rel=0.05)


@pytest.mark.parametrize("dtype", ["float32", *(pytest.param(t, marks=marks) for t, marks in OTHERS.items())])
@pytest.mark.parametrize("method", METHODS)
def test_our_steps_keep_a_state_in_every_method(sample, tmp_path, method, dtype):
    _, x, rows = sample
    x = x[:1000]
    path = tmp_path / "dictionary.safetensors"
    save_dictionary(path, rows)
    setting = Setting(
        method=method, dtype=dtype, dimension=DIMENSION, latents=LATENTS, k=SPARSE, prefixes=(500, LATENTS)
    )
    trainee = make(setting, load_state(path, bound_for(x, rows, SPARSE), method))
    batch = torch.from_numpy(x)
    for _ in range(2):
        trainee.step(batch)
        assert trainee.l0(batch) == pytest.approx(
            SPARSE, rel=REPEATED if method == "matching_pursuit" else L0_TOLERANCE
        )
    # each of RA-SAE's steps changes each of a row's weights by the learning rate at most, and divides them by their sum
    atol = 2 * 2 * ARCHETYPES * setting.lr if method == "ra_sae" else 1e-4
    trainee.model.write_rows()
    assert torch.allclose(trainee.model.W_dec, torch.from_numpy(rows), atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["relu", "jumprelu", "gated"])
def test_a_processor_that_rounds_otherwise_gets_a_separate_bound(sample, monkeypatch, method):
    """A processor like one with AMX, on which ReLU and Gated had fewer active latents than the tolerance allows."""
    _, x, rows = sample
    exactly = tiles.to_bfloat16

    def coarsely(values, bias, out):
        exactly(values, bias, out)
        out[:, : values.shape[1]] *= 1 - 2.0**-5

    monkeypatch.setattr(tiles, "to_bfloat16", coarsely)
    batch = torch.from_numpy(x)
    setting = Setting(method=method, dtype="bfloat16", dimension=DIMENSION, latents=LATENTS, k=SPARSE)

    def start(bound: float) -> float:
        trainee = make(setting, weights(torch.from_numpy(rows), torch.tensor(bound), method))
        trainee.step(batch)
        return trainee.l0(batch)

    uncalibrated = start(bound_for(x, rows, SPARSE))
    assert method == "jumprelu" or uncalibrated < SPARSE * (1 - L0_TOLERANCE)
    active = calibrate(SPARSE, lambda l0: bound_for(x, rows, l0), start)
    assert active == pytest.approx(SPARSE, rel=CLOSE)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0, 1.7])
def test_a_bound_is_searched_a_few_times_and_the_last_l0_is_returned(share):
    aims: list[float] = []

    def start(bound: float) -> float:
        aims.append(bound)
        return share * bound

    active = calibrate(64, lambda l0: l0, start)
    assert active == (pytest.approx(64, rel=CLOSE) if share else 0.0)
    assert len(aims) == {0.0: TRIES, 1.0: 1}.get(share, len(aims)) <= TRIES
