import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.training.schedules import learning_rate, penalty_share

shares = st.floats(0, 1)


@given(steps=st.integers(1, 500), warmup=shares, decay=shares)
def test_the_learning_rate_is_positive_and_never_above_its_peak(steps, warmup, decay):
    rates = [learning_rate(step, steps, 0.3, warmup, decay) for step in range(steps)]
    assert all(0 < rate <= 0.3 for rate in rates)


def test_it_rises_holds_and_falls():
    rates = [learning_rate(step, 100, 1.0, 0.1, 0.2) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert set(rates[10:80]) == {1.0}
    assert rates[80:] == pytest.approx([1 - 0.05 * i for i in range(20)])


@given(steps=st.integers(1, 500), warmup=shares)
def test_penalties_rise_to_their_full_weight(steps, warmup):
    rise = [penalty_share(step, steps, warmup) for step in range(steps)]
    assert rise == sorted(rise)
    assert rise[-1] == pytest.approx(1.0)
    assert penalty_share(0, steps, 0.0) == 1.0
