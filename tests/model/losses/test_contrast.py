"""The contrast of T-SAE on planted pairs. tests/model/losses/test_total.py compares it with a reference."""

import pytest
import torch

import sdlcore as sdl
from sdlcore.random_streams import torch_stream

D, Q, FIRST = 24, 64, 24
DIRECTIONS = torch.nn.functional.normalize(torch.randn(48, D, generator=torch_stream(0, "directions")))


def pairs(step):
    """Return pairs with two features in common, of the first 24, and two more each."""
    generator = torch_stream(1, "pairs", step)
    common = DIRECTIONS[torch.randint(24, (128, 2), generator=generator)].sum(1)
    individual = DIRECTIONS[24 + torch.randint(24, (128, 2, 2), generator=generator)].sum(2)
    return common[:, None] + individual


def similarity_of_neighbours(**settings):
    """Train, and return how much more similar the first latents of neighbours are than those of other samples."""
    coder = sdl.SparseCoder(D, activation="batchtopk", k=6, n_q=Q, prefixes=[FIRST, Q], **settings)
    optimizer = torch.optim.Adam(coder.parameters(), lr=3e-3)
    for step in range(120):
        loss = coder.loss(pairs(step) if coder.loss_config.contrast else pairs(step).flatten(0, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    latents = coder.eval().encode(pairs(1000).flatten(0, 1)).detach()[:, :FIRST]
    tokens, neighbours = torch.nn.functional.normalize(latents).view(128, 2, -1).unbind(1)
    return float((tokens * neighbours).sum(1).mean() - (tokens @ neighbours.T).mean())


@pytest.mark.parametrize("similarity", ["cosine", "product"])
def test_neighbours_get_more_similar_first_latents(similarity):
    smooth = similarity_of_neighbours(contrast=2.0, contrast_similarity=similarity)
    assert smooth > similarity_of_neighbours() + 0.05
