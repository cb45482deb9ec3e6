"""All libraries are timed in the same state, with the wanted number of active latents."""

import numpy as np
import pytest
import torch

from benchmarks.cases import ARCHETYPES, METHODS, SPARSE, Setting
from benchmarks.libraries.sdlcore_steps import make
from benchmarks.states import bound_for, dictionary, load_state, save_dictionary
from benchmarks.timing import L0_TOLERANCE, REPEATED
from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, synthesise
from sdlcore.random_streams import stream
from tests.int8 import needs_int8

DIMENSION, FEATURES, LATENTS = 48, 60, 2000
OTHERS = {"bfloat16": [pytest.mark.slow], "int8": [pytest.mark.slow, needs_int8]}


@pytest.fixture(scope="module")
def sample():
    W = stream(0, "W").standard_normal((DIMENSION, FEATURES)).astype(np.float32)
    W /= np.linalg.norm(W, axis=0)
    x = synthesise(coefficients(4000, FEATURES, BenchSamples(sparsity=0.9), stream(0, "x")), W)
    return W, x, dictionary(W, LATENTS, seed=0)


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
