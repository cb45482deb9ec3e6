from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.config import SELECTING, Activation, ModelConfig
from sdlcore.model.activations.batchtopk import BatchTopK
from sdlcore.model.activations.gated import Gated
from sdlcore.model.activations.jumprelu import JumpReLU, step
from sdlcore.model.activations.registry import activation, make_sigma
from sdlcore.model.activations.topk import TopK
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Auxiliary, Scales
from sdlcore.sparse.kernels.interface import Kernels
from tests.preactivations import drawn, given_as

NAMES = [name for name in get_args(Activation) if name not in ("lista", "matching_pursuit")]  # encoders
seeds = st.integers(0, 10_000)


def sigma_of(name, n_q=10, k=3):
    return make_sigma(ModelConfig("sae", name, n_q, k if name in SELECTING else None, init_threshold=0.3))


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


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 1000))
def test_the_gradient_to_z_is_that_of_the_selected_values(name, seed):
    z = drawn(seed).requires_grad_()
    weights = drawn(seed + 1)
    codes = latents(sigma_of(name), z)
    (codes * weights).sum().backward()
    assert torch.equal(z.grad, torch.where(codes != 0, weights, 0.0))


@given(seed=st.integers(0, 1000), relative=st.floats(0.2, 6))
def test_jumprelus_straight_through_gradients_are_the_published_ones(seed, relative):
    sigma = JumpReLU(10, 0.3, relative)
    bandwidth = sigma.bandwidth
    torch.testing.assert_close(bandwidth.item(), 0.3 * relative, rtol=1e-6, atol=0)
    z, weights = drawn(seed), drawn(seed + 1)
    theta = sigma.threshold
    kernel = ((z - theta).abs() < bandwidth / 2) / bandwidth
    (latents(sigma, z) * weights).sum().backward()
    torch.testing.assert_close(theta.grad, (-theta * kernel * weights).sum(0).detach())
    theta.grad = None
    z.requires_grad_()
    smoothed = step(z, theta.expand_as(z), bandwidth)
    assert torch.equal(smoothed, (z > theta).float())
    (smoothed * weights).sum().backward()
    torch.testing.assert_close(theta.grad, (-kernel * weights).sum(0).detach())
    assert z.grad is None


@given(seed=st.integers(0, 1000))
def test_gated_is_the_published_two_paths(seed):
    """With b_mag = offset + e^r b_gate: gate and magnitude from one product (Rajamanoharan et al. 2024a)."""
    product, b_gate, r, offset = (drawn(seed + i) for i in range(4))
    b_gate, r, offset = b_gate[0], r[0], offset[0]
    sigma = Gated(10)
    with torch.no_grad():
        sigma.log_scale.copy_(r)
        sigma.offset.copy_(offset)
    gate = product + b_gate
    magnitude = r.exp() * product + (offset + r.exp() * b_gate)
    torch.testing.assert_close(latents(sigma, gate).detach(), torch.where(gate > 0, magnitude.relu(), 0.0))


class Shrunk(TopK):
    """An activation whose latents are not pre-activations: a power of TopK's, minus a constant."""

    shrink: float = 0.1

    def values(self, pre, support):
        return (super().values(pre, support) ** 1.5 - self.shrink).clamp(min=0)


@pytest.fixture
def shrunk(registry):
    return activation("shrunk")(Shrunk)


@pytest.mark.parametrize("scales", [Scales(), Scales(multi_k=(1, 3))])
def test_its_gradients_are_those_of_finite_differences(shrunk, scales):
    generator = torch.Generator().manual_seed(0)
    model = SparseCoder.from_config(ModelConfig("sae", "shrunk", 12, 3, bias=True, shrink=0.01), (6,), (6,), generator)
    model = model.double().train()
    x = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    auxiliary = Auxiliary(torch.tensor([1, 7]), 1)

    def error():
        out = model(x, scales, auxiliary, kernels=Kernels())
        return (out.scales - x[:, None]).square().sum() + (out.aux - x).square().sum()

    error().backward()
    for weights in (model.W_enc, model.b_enc, model.W_dec, model.b_dec):
        for place in range(0, weights.numel(), 5):
            at, step = weights.data.view(-1)[place : place + 1], 1e-6
            sides = []
            for sign in (1, -1):
                at += sign * step
                sides.append(error().item())
                at -= sign * step
            slope = weights.grad.view(-1)[place].item()
            assert slope == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-6)


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
