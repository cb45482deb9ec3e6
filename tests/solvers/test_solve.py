"""Solvers find the same dictionary in any unit of the activations."""

import warnings
from typing import get_args

import numpy as np
import pytest

import sdlcore as sdl
from sdlcore.solvers.settings import Solver

FEW = {"n_atoms": 48, "support": 4, "batch_size": 512, "max_steps": 3, "progress": False}


def solved(x, solver, scale=1.0, **more):
    settings = {**FEW, "solver": solver, **more} | (
        {"l1": scale, "max_steps": 1, "n_atoms": 24} if solver == "odl" else {}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sdl.solve((x * scale).astype(np.float32), **settings)


def fvu(dictionary, x, scale=1.0):
    reconstruction = dictionary.reconstruct((x * scale).astype(np.float32)).astype(np.float64) / scale
    return np.square(reconstruction - x).sum() / np.square(x - x.mean(0)).sum()


@pytest.fixture(scope="module")
def x(bench):
    return bench.x.numpy()[:1024]


@pytest.mark.parametrize("solver", get_args(Solver))
def test_a_dictionary_does_not_depend_on_the_unit_of_the_activations(x, solver):
    # both are divided by a power of two, which is exact, and so is multiplying by one
    huge, tiny = (solved(x, solver, scale) for scale in (2.0**98, 2.0**-98))
    assert np.array_equal(huge.W_dec.numpy(), tiny.W_dec.numpy())
    assert np.array_equal(huge.b_enc.numpy() / 2.0**98, tiny.b_enc.numpy() * 2.0**98)
    assert [row["fvu"] for row in huge.history] == [row["fvu"] for row in tiny.history]
    assert huge.history[-1]["loss"] / 2.0**196 == tiny.history[-1]["loss"] * 2.0**196
    plain = solved(x, solver)
    for dictionary, scale in ((huge, 2.0**98), (tiny, 2.0**-98)):
        if solver != "odl":  # scikit-learn compares sums of squared codes with 1e-6
            assert np.array_equal(dictionary.W_dec.numpy(), plain.W_dec.numpy())
        assert fvu(dictionary, x, scale) == pytest.approx(fvu(plain, x), rel=0.1)


@pytest.mark.parametrize("scale", [1e18, 1e30, 1e-30])
@pytest.mark.parametrize("solver", get_args(Solver))
def test_no_scale_gives_zeros_or_nan(x, solver, scale):
    # float32 rounding at another scale changes ties between samples, and so atoms, but not the error
    assert fvu(solved(x, solver, scale), x, scale) == pytest.approx(fvu(solved(x, solver), x), rel=0.2)


@pytest.mark.parametrize("scale", [2.0**98, 2.0**-98])
@pytest.mark.parametrize("settings", [{"normalise": True}, {"encoder": "pursuit"}, {"encoder": "tied"}], ids=str)
def test_other_encoders_and_normalised_activations_have_any_scale_too(x, bench, settings, scale):
    plain, at_scale = (solved(x, "acs", s, **settings) for s in (1.0, scale))
    assert fvu(at_scale, x, scale) == pytest.approx(fvu(plain, x), rel=1e-3)
    references = sdl.References(bench.features.numpy().T.copy())
    scores = [sdl.evaluate(one, references, (x * s).astype(np.float32)) for one, s in ((plain, 1.0), (at_scale, scale))]
    assert scores[1]["gt_recovery_decoder"] == scores[0]["gt_recovery_decoder"] > 0.5
    for name in ("mip_encoder", "mip_decoder", "mip_encoder_pattern", "fvu"):
        assert scores[1][name] == pytest.approx(scores[0][name], rel=1e-3)
        assert scores[1].nulls["samples"][name] == pytest.approx(scores[0].nulls["samples"][name], rel=1e-3)


def test_a_transcoder_has_sites_of_two_scales(x):
    sae = solved(x, "acs")
    sites = (2.0**40 * x).astype(np.float32), (2.0**-40 * x).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        apart = sdl.solve(sites[0], target=sites[1], **FEW)
    error = np.square(apart.reconstruct(sites[0]).astype(np.float64) * 2.0**40 - x).sum()
    assert error / np.square(x - x.mean(0)).sum() == pytest.approx(fvu(sae, x), rel=1e-3)


def test_directions_are_discovered_at_any_scale(x):
    settings = {key: FEW[key] for key in ("n_atoms", "support", "max_steps")} | {"batch_size": 512}
    plain, at_scale = (sdl.discover((x * scale).astype(np.float32), 8, **settings).w_p for scale in (1.0, 2.0**90))
    assert np.array_equal(plain, at_scale)
