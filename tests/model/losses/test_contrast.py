"""The contrast of T-SAE on planted pairs. tests/model/losses/test_total.py compares it with a reference."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.random_streams import torch_stream
from tests.fitting.test_fitting import QUIET

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
