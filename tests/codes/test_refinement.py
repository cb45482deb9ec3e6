"""Rounds after training find missing features, and refits separate children from their parents."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

import sdlcore as sdl
from sdlcore.codes.posterior import with_posterior_codes
from sdlcore.codes.refine import _least_squares, _without_parents, refine_rows
from sdlcore.config import ModelConfig
from sdlcore.data.arrays import Arrays
from sdlcore.model.coder import SparseCoder

N, DIMENSIONS, SAMPLES = 24, 48, 4000


@pytest.fixture(scope="module")
def features():
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(DIMENSIONS, N, generator=generator)).Q.T


def draw_from(features, seed=1):
    def draw(round_: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed * 1000 + round_)
        active = torch.rand(SAMPLES, len(features), generator=generator) < 0.05
        sizes = 4 + 0.5 * torch.randn(SAMPLES, len(features), generator=generator)
        return (active * sizes) @ features + 0.1 * torch.randn(SAMPLES, DIMENSIONS, generator=generator)

    return draw


def dictionary_of(rows, x):
    """Return a dictionary with posterior codes of given rows."""
    model = SparseCoder.from_config(
        ModelConfig(activation="relu", n_q=len(rows), bias=True), (DIMENSIONS,), (DIMENSIONS,)
    ).eval()
    state = {"W_enc": rows, "W_dec": rows, "b_enc": torch.full((len(rows),), -2.0), "b_dec": torch.zeros(DIMENSIONS)}
    model.load_state_dict(model.state_dict() | state)
    return with_posterior_codes(model, Arrays(x.numpy()), len(x))


def test_missing_features_take_the_place_of_useless_latents(features):
    draw = draw_from(features)
    useless = torch.nn.functional.normalize(torch.randn(N - 10, DIMENSIONS, generator=torch.Generator().manual_seed(3)))
    start = torch.cat([features[:10], useless])
    before = dictionary_of(start, draw(99))
    assert ((features @ before.W_dec.T).amax(1) > 0.97).sum() == 10
    after, _ = refine_rows(dictionary_of(start, draw(99)), draw, 12, torch.Generator().manual_seed(4))
    # 200 samples with a feature of length 4, and noise of .1 in each of 48 dimensions: cosines above .999
    assert (features @ after.W_dec.T).amax(1).min() > 0.99
    torch.testing.assert_close(after.W_dec.norm(dim=1), torch.ones(N))
    x = draw(98)
    with torch.no_grad():
        error = [float((x - model(x).x_hat).square().mean()) for model in (before, after)]
    # the rest is noise of variance .01, less the part that the codes explain
    assert error[1] < 0.012 < error[0]


def test_latents_that_stay_keep_their_index(features):
    draw, useless = draw_from(features), [0, 3, 4, 9, 17]
    start = features.clone()
    start[useless] = torch.nn.functional.normalize(
        torch.randn(len(useless), DIMENSIONS, generator=torch.Generator().manual_seed(3))
    )
    after, replaced = refine_rows(dictionary_of(start, draw(99)), draw, 8, torch.Generator().manual_seed(4))
    assert replaced == useless
    cosines = (features @ after.W_dec.T).detach()
    staying = [i for i in range(N) if i not in useless]
    assert cosines.diagonal()[staying].min() > 0.99
    assert cosines[useless][:, useless].amax(1).min() > 0.99  # the missing features take the free indices


def test_refined_latents_keep_their_statistics(features):
    """Codes of a feature that is twice as frequent belong to the index that its latent has had from the start."""
    rare = draw_from(features)

    def draw(round_: int) -> torch.Tensor:
        return rare(round_) + 6 * (torch.arange(SAMPLES) % 5 == 0)[:, None] * features[20]

    start = features.clone()
    start[:4] = torch.nn.functional.normalize(torch.randn(4, DIMENSIONS, generator=torch.Generator().manual_seed(3)))
    after, _ = refine_rows(dictionary_of(start, draw(99)), draw, 6, torch.Generator().manual_seed(4))
    with torch.no_grad():
        assert (after.encode(draw(98)) > 0).float().mean(0).argmax() == 20
    assert after.sigma.log_odds.argmax() == 20


def test_codes_solve_least_squares_on_their_supports(features):
    rng = np.random.default_rng(6)
    rows = torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((N, DIMENSIONS))).float())
    support = rng.random((50, N)) < 0.1
    truth = csr_array(np.where(support, rng.uniform(2, 4, support.shape), 0).astype(np.float32))
    x = torch.from_numpy(truth @ rows.numpy())
    got = _least_squares(truth, x, rows)
    assert (got.indptr == truth.indptr).all()
    for b in range(50):
        chosen = rows.numpy()[truth.indices[truth.indptr[b] : truth.indptr[b + 1]]]
        system = chosen @ chosen.T + 0.01 * np.eye(len(chosen))
        expected = np.linalg.solve(system, chosen @ x[b].numpy()) if len(chosen) else []
        np.testing.assert_allclose(got.data[got.indptr[b] : got.indptr[b + 1]], expected, rtol=1e-3)


def test_a_row_loses_the_direction_of_its_parent():
    rows = torch.eye(4)[:3].clone()
    rows[1] = torch.tensor([0.6, 0.8, 0.0, 0.0])  # the child leans on its parent, row 0
    rows[2] = torch.tensor([0.6, 0.0, 0.8, 0.0])  # this row leans on it, too, but is active without it
    together = torch.tensor([[100.0, 40.0, 10.0], [40.0, 42.0, 0.0], [10.0, 0.0, 40.0]])
    expected = rows.clone()
    expected[1] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    torch.testing.assert_close(_without_parents(rows, together), expected)


def test_a_refined_dictionary_does_not_claim_to_be_nested():
    x = sdl.SynthBench.draw(seed=0, n=128, n_p=64, roots=1).samples(2000).input
    settings = {"activation": "batchtopk", "k": 3, "n_q": 16, "bias": True, "steps": 20, "prefixes": [4, 16]}
    plain = sdl.fit(x, prefix_detached=True, progress=False, **settings)
    refined = sdl.refine(plain, x, 4, progress=False)
    assert plain.settings["prefixes"] == [4, 16]
    assert not {"prefixes", "prefix_detached"} & refined.settings.keys()
    assert "prefixes" not in str(refined.generate_model_card())
