import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.model.activations.batchtopk import BatchTopK
from sdlcore.model.activations.registry import activation
from sdlcore.model.activations.topk import TopK
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Auxiliary, Scales
from sdlcore.sparse.kernels.interface import Kernels
from tests.preactivations import drawn, given_as


def latents(sigma, z):
    """Return the dense form of an activation's values at the entries of its search."""
    support = sigma.search().find(given_as(z)).support
    return support.dense(sigma.values(z[support.rows, support.columns.long()], support))


def test_batchtopks_threshold_follows_the_smallest_selected_value_and_is_saved():
    sigma = BatchTopK(2)
    smallest = []
    for seed in range(20):
        codes = latents(sigma, drawn(seed))
        smallest.append(codes[codes > 0].min().item())
    expected = smallest[0]
    for value in smallest[1:]:
        expected = 0.9 * expected + 0.1 * value
    assert sigma.threshold.item() == pytest.approx(expected, rel=20 * 2 * 2**-24)  # two roundings in each of 20 steps
    assert "threshold" in sigma.state_dict()
    z = drawn(99)
    assert torch.equal(latents(sigma.eval(), z), torch.where(z > sigma.threshold, z, 0.0))
    assert torch.equal(latents(sigma, z)[:2], latents(sigma, z[:2])), "a sample does not depend on its batch"


def test_batchtopk_survives_a_batch_without_positive_values():
    sigma = BatchTopK(2)
    assert (latents(sigma, -torch.ones(4, 5)) == 0).all()
    assert sigma.threshold == 0.0


class Shrunk(TopK):
    """An activation whose latents are not pre-activations: a power of TopK's, minus a constant."""

    shrink: float = 0.1

    def values(self, pre, support):
        return (super().values(pre, support) ** 1.5 - self.shrink).clamp(min=0)


@pytest.mark.parametrize("scales", [Scales(), Scales(multi_k=(1, 3))])
def test_its_gradients_are_those_of_finite_differences(registry, scales):
    activation("shrunk")(Shrunk)
    generator = torch.Generator().manual_seed(0)
    model = SparseCoder.from_config(ModelConfig("sae", "shrunk", 12, 3, bias=True, shrink=0.01), (6,), (6,), generator)
    model = model.double().train()
    x = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    names, weights = zip(*model.named_parameters(), strict=True)

    def reconstructions(*weights):
        how = {"scales": scales, "auxiliary": Auxiliary(torch.tensor([1, 7]), 1), "kernels": Kernels()}
        out = torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (x,), how)
        return out.scales, out.aux

    assert torch.autograd.gradcheck(reconstructions, weights, fast_mode=True)


def test_latents_that_only_take_part_beside_the_active_ones_have_no_value(registry):
    @activation("lifted")
    class Lifted(TopK):
        def values(self, pre, support):
            return torch.ones_like(pre)

    model = SparseCoder.from_config(ModelConfig("sae", "lifted", 6, 2), (4,), (4,), torch.Generator().manual_seed(0))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    out = model(x, auxiliary=Auxiliary(torch.tensor([0, 1]), 1))
    assert len(out.values) == 3 * 3
    assert out.values.sum() == out.active().sum() == 3 * 2
