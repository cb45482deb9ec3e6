import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.model.sigma import BatchTopK, JumpReLU, ReLU, TopK, make_sigma

NAMES = ["relu", "jumprelu", "topk", "batchtopk"]


def pre_activations(seed, B=6, Q=10):
    return torch.randn(B, Q, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigma_of(name, n_q=10, k=3):
    return make_sigma(name, n_q, k if "topk" in name else None, init_threshold=0.3, bandwidth=0.4).double()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
@given(seed=st.integers(0, 10_000))
def test_sigma_keeps_a_value_or_gives_zero(name, training, seed):
    sigma = sigma_of(name)
    z = pre_activations(seed)
    sigma.train()
    sigma(z)  # BatchTopK learns its threshold
    latents = sigma.train(training)(z)
    assert ((latents == 0) | (latents == z)).all()
    assert (latents >= 0).all()


@given(seed=st.integers(0, 10_000), k=st.integers(1, 10))
def test_topk_keeps_the_largest_positive_ones(seed, k):
    z = pre_activations(seed)
    expected = torch.zeros_like(z)
    for b, row in enumerate(z):
        for i in sorted(range(10), key=lambda i: -row[i])[:k]:
            expected[b, i] = max(row[i], 0)
    assert torch.equal(TopK(k)(z), expected)


@given(seed=st.integers(0, 10_000), k=st.integers(1, 10))
def test_batchtopk_keeps_the_largest_positive_ones_of_the_batch(seed, k):
    z = pre_activations(seed)
    threshold = z.flatten().sort(descending=True).values[6 * k - 1]
    expected = torch.where((z >= threshold) & (z > 0), z, 0.0)
    assert torch.equal(BatchTopK(k).double()(z), expected)


def test_batchtopks_threshold_follows_the_smallest_kept_value_and_is_saved():
    sigma = BatchTopK(2).double()
    smallest = []
    for seed in range(20):
        latents = sigma(pre_activations(seed))
        smallest.append(latents[latents > 0].min().item())
    expected = smallest[0]
    for value in smallest[1:]:
        expected = 0.9 * expected + 0.1 * value
    assert sigma.threshold.item() == pytest.approx(expected)
    assert "threshold" in sigma.state_dict()
    z = pre_activations(99)
    assert torch.equal(sigma.eval()(z), torch.where(z > expected, z, 0.0))
    assert torch.equal(sigma(z)[:2], sigma(z[:2])), "outside of training a sample does not depend on its batch"


def test_batchtopk_without_a_threshold_says_so():
    with pytest.raises(RuntimeError, match="no threshold"):
        BatchTopK(2).eval()(pre_activations(0))


def test_batchtopk_survives_a_batch_without_positive_values():
    sigma = BatchTopK(2)
    assert (sigma(-torch.ones(4, 5)) == 0).all()
    assert sigma.threshold == 0.0


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 1000))
def test_the_gradient_to_z_is_that_of_the_kept_values(name, seed):
    z = pre_activations(seed).requires_grad_()
    weights = pre_activations(seed + 1)
    latents = sigma_of(name)(z)
    (latents * weights).sum().backward()
    assert torch.equal(z.grad, torch.where(latents != 0, weights, 0.0))


@given(seed=st.integers(0, 1000), bandwidth=st.floats(0.05, 2))
def test_jumprelus_straight_through_gradients_are_the_published_ones(seed, bandwidth):
    sigma = JumpReLU(10, 0.3, bandwidth).double()
    z, weights = pre_activations(seed), pre_activations(seed + 1)
    theta = sigma.threshold
    kernel = ((z - theta).abs() < bandwidth / 2) / bandwidth
    (sigma(z) * weights).sum().backward()
    torch.testing.assert_close(theta.grad, (-theta * kernel * weights).sum(0).detach())
    theta.grad = None
    z.requires_grad_()
    step = sigma.step(z)
    assert torch.equal(step, (z > theta).double())
    (step * weights).sum().backward()
    torch.testing.assert_close(theta.grad, (-kernel * weights).sum(0).detach())
    assert z.grad is None


def test_relu_is_relu():
    assert torch.equal(ReLU()(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))


def test_unknown_names_and_missing_k_are_refused():
    with pytest.raises(ValueError, match="unknown activation 'tanh'"):
        make_sigma("tanh", 3, 1, 0, 1)
    with pytest.raises(ValueError, match="topk needs k"):
        make_sigma("topk", 3, None, 0, 1)
