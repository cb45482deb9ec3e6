from hypothesis import given
from hypothesis import strategies as st

from peers.trainer import LONGEST, pace


@given(st.integers(1, 10**6), st.integers(1, 10**4))
def test_a_default_stands_where_it_is_short_and_never_takes_more_than_its_share(steps, default):
    length = pace(steps, default)
    assert 1 <= length <= default
    assert length <= LONGEST * steps + 0.5 or length == 1
    assert length == default or default > LONGEST * steps - 0.5
