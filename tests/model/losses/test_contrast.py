"""The contrast of T-SAE on planted pairs. tests/model/losses/test_total.py compares it with a reference."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.losses.contrast import contrast
from sdlcore.parallel.groups import Processes
from sdlcore.random_streams import torch_stream
from sdlcore.training.distributed import divide
from tests.fitting.test_fitting import QUIET
from tests.parallel.threads import together

D, Q, FIRST = 24, 64, 24
DIRECTIONS = torch.nn.functional.normalize(torch.randn(48, D, generator=torch_stream(0, "directions")))


def pairs(step):
    """Return pairs with two features in common, of the first 24, and two more each."""
    generator = torch_stream(1, "pairs", step)
    common = DIRECTIONS[torch.randint(24, (128, 2), generator=generator)].sum(1)
    individual = DIRECTIONS[24 + torch.randint(24, (128, 2, 2), generator=generator)].sum(2)
    return (common[:, None] + individual).numpy()


@pytest.mark.parametrize("similarity", ["cosine", "product"])
def test_neighbours_get_more_similar_first_latents(similarity):
    how = {"activation": "batchtopk", "k": 6, "n_q": Q, "prefixes": [FIRST, Q], "steps": 120, "lr": 3e-3}
    how |= {"normalise": False, "bias": False, "resample_every": None, **QUIET}
    plain = sdl.fit(lambda step: pairs(step).reshape(256, D), **how)
    smooth = sdl.fit(pairs, contrast=2.0, contrast_similarity=similarity, **how)
    similar = {}
    for name, sae in (("plain", plain), ("smooth", smooth)):
        latents = np.asarray(sae.encode(pairs(1000).reshape(256, D)))[:, :FIRST]
        unit = latents / np.maximum(np.linalg.norm(latents, axis=1, keepdims=True), 1e-9)
        similar[name] = (unit[::2] * unit[1::2]).sum(1).mean() - (unit[::2] @ unit[1::2].T).mean()
    assert similar["smooth"] > similar["plain"] + 0.05


def test_identical_neighbours_that_share_nothing_with_others_have_the_least_contrast():
    model = SparseCoder.from_config(ModelConfig("sae", "topk", Q, 1), (Q,), (Q,), torch_stream(0, "x"))
    with torch.no_grad():
        model.W_enc.copy_(torch.eye(Q))
    x = torch.eye(Q)[:6].repeat_interleave(2, dim=0)
    # six pairs, of which each has the cosine 1 with itself and 0 with others
    expected = -np.log(np.e / (np.e + 5))
    assert float(contrast(model, model(x), Q)) == pytest.approx(expected, abs=1e-6)
    # the latents of five pairs lie behind the first one, so that their tokens have no direction
    expected = (-np.log(np.e / (np.e + 5)) + 5 * np.log(6)) / 6
    assert float(contrast(model, model(x), 1)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("first", [40, 16])  # behind the first process's 32 latents, and among them
def test_processes_with_half_of_the_latents_each_find_the_same_contrast(first):
    whole = SparseCoder.from_config(ModelConfig("sae", "topk", Q, 6), (D,), (D,), torch_stream(0, "x"))
    x = torch.from_numpy(pairs(0)).flatten(0, 1)

    def loss_of(model):
        loss = contrast(model, model(x), first)
        loss.backward()
        return float(loss), model.W_enc.grad

    def work(group):
        model = SparseCoder.from_config(whole.config, (D,), (D,), torch_stream(0, "x"))
        divide(model, Processes(latents=group))
        return loss_of(model)

    expected, gradient = loss_of(whole)
    (one, upper), (other, lower) = together(2, work)
    assert one == other == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(torch.cat([upper, lower]), gradient, rtol=1e-4, atol=1e-6)
