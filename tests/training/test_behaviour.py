"""The share of a model's divergence in the loss."""

import pytest
import torch

from sdlcore.training.behaviour import blended


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_loss_keeps_its_value_and_gradients_have_their_shares(share):
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    error, divergence = x[0] ** 2, 0.1 * x[1]
    loss = blended(error, divergence, divergence, share)
    # powers of two and one product and quotient: a rounding or two
    assert loss.item() == pytest.approx(4.0, rel=1e-6)
    loss.backward()
    assert x.grad.tolist() == pytest.approx([(1 - share) * 4.0, share * (4.0 / 0.3) * 0.1], rel=1e-6)


def test_a_perfect_reconstruction_has_a_finite_loss():
    x = torch.zeros((), requires_grad=True)
    loss = blended(x**2, x.double() ** 2, x.double() ** 2, 0.5)
    loss.backward()
    assert loss.isfinite()
    assert x.grad == 0
