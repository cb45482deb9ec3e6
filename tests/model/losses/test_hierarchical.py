"""HierarchicalTopK's loss from the last reconstruction equals that from the reconstructions of all parts."""

import pytest
import torch

from sdlcore.config import LossConfig, ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Auxiliary, Scales
from sdlcore.model.losses.term import TermInputs
from sdlcore.model.losses.total import scales_of, total_loss
from sdlcore.random_streams import torch_stream

DIMENSION, K = 70, 5
"""More numbers in double precision than a piece of a row has (`sdlcore.sparse.kernels.cpu_tiles.PIECE`)."""


@pytest.mark.parametrize("auxiliary", [None, Auxiliary(torch.arange(9), 7)])
@pytest.mark.parametrize("activation", ["topk", "batchtopk", "abstopk"])
def test_the_loss_needs_only_the_last_reconstruction(activation, auxiliary):
    generator = torch_stream(0, activation)
    config = LossConfig(hierarchical=True, lambda_aux=0.0 if auxiliary is None else 0.3)
    model = SparseCoder.from_config(
        ModelConfig("sae", activation, 60, K, True), (DIMENSION,), (DIMENSION,), generator
    ).double()
    x = torch.randn(20, DIMENSION, generator=generator, dtype=torch.float64)
    x[3] = 0.0  # activates no latent
    results = []
    for scales in (scales_of(config, model), Scales.of(config, model.config)):
        model.zero_grad()
        out = model(x, scales, auxiliary)
        loss = total_loss(TermInputs(model, x, out, config))["loss"]
        (0.5 * loss).backward()
        results.append([out.scales.shape[1], loss.detach(), {name: p.grad for name, p in model.named_parameters()}])
    (parts, *walked), (all_parts, *decoded) = results
    assert (parts, all_parts) == (1, K)
    torch.testing.assert_close(walked, decoded, rtol=1e-10, atol=1e-12)
