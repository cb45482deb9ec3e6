"""Logistic regression on supports of codes, beside torch's own optimiser and plain loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.codes import logistic
from sdlcore.codes.logistic import _bounds, _magnitudes, _State, _take_step


def test_steps_are_those_of_torch_s_adam_on_the_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    x, W = torch.randn(50, 6, generator=generator), 0.1 * torch.randn(9, 6, generator=generator)
    active = torch.rand(50, 9, generator=generator) < 0.2
    state = _State(W.clone(), torch.zeros(9), *(torch.zeros_like(one) for one in (W, W[:, 0], W, W[:, 0])))
    layer = torch.nn.Linear(6, 9)
    layer.load_state_dict({"weight": W, "bias": torch.zeros(9)})
    optimizer = torch.optim.Adam(layer.parameters(), lr=logistic.LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 5)
    for step in range(5):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(layer(x), active.float(), reduction="sum") / 50
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        _take_step(state, x, active.nonzero(as_tuple=True), step, 5)
    # float32 rounds a step of .02 to 2e-9, but Adam divides by roots of small means
    torch.testing.assert_close(state.W, layer.weight.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(state.b, layer.bias.detach(), rtol=0, atol=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_latents_are_active_in_the_requested_numbers_of_samples_with_their_mean_codes(seed):
    generator = torch.Generator().manual_seed(seed)
    x, W = torch.randn(300, 5, generator=generator), torch.randn(7, 5, generator=generator)
    b, numbers = torch.randn(7, generator=generator), torch.tensor([0, 1, 5, 20, 100, 200, 299])
    codes = (2 * (x @ W.T + b) + torch.randn(300, 7, generator=generator)).clamp(min=0)
    codes[:, 4] = 0  # a latent whose codes are zero wherever it is chosen
    rows, biases, thresholds = _magnitudes(x, W, b, codes, numbers)
    pre = x @ rows.T + biases
    active = pre > thresholds
    # a very negative bias can leave another latent without codes, too
    first = (x @ W.T + b).argsort(dim=0, descending=True)
    others = [i for i in (0, 1, 2, 3, 5, 6) if not numbers[i] or codes[first[: numbers[i], i], i].any()]
    # a line that would be nearly flat leaves samples at the threshold within rounding
    assert (active.sum(0)[others] - numbers[others]).abs().max() <= 1
    assert not (active & (pre <= 0)).any()
    assert not pre[active[:, 4], 4].any()
    chosen = [2, 3, 5]
    means = (pre * active).sum(0) / active.sum(0).clamp(min=1)
    expected = (codes * active).sum(0) / active.sum(0).clamp(min=1)
    torch.testing.assert_close(means[chosen], expected[chosen], rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("requested", "active"), [(1, 1), (2, 1), (4, 5), (6, 6), (7, 8), (9, 9)])
def test_repeated_samples_stay_together_on_the_nearer_side_of_the_bound(requested, active):
    """Four samples are equal but for rounding, then one differs, and two are equal."""
    scores = torch.tensor([[5.0], [3.0], [3.0000001], [3.0], [2.9999998], [2.0], [1.0], [1.0], [0.0], [-1.0]])
    bounds = _bounds(scores.sort(dim=0, descending=True).values, torch.tensor([requested]))
    assert int((scores > bounds).sum()) == active
    assert (scores - bounds).abs().min() > 0.49  # away from rounding
