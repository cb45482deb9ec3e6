import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import stream, torch_stream

names = st.lists(st.one_of(st.text(max_size=8), st.integers(0, 9)), min_size=1, max_size=3).map(tuple)


@given(seed=st.integers(0, 2**63), name=names)
def test_a_stream_is_the_same_at_every_call(seed, name):
    assert (stream(seed, *name).random(4) == stream(seed, *name).random(4)).all()
    assert torch.equal(
        torch.rand(4, generator=torch_stream(seed, *name)), torch.rand(4, generator=torch_stream(seed, *name))
    )


@given(seed=st.integers(0, 2**63), one=names, other=names)
def test_streams_of_other_names_or_seeds_differ(seed, one, other):
    if one != other:
        assert (stream(seed, *one).random(4) != stream(seed, *other).random(4)).all()
    assert (stream(seed, *one).random(4) != stream(seed + 1, *one).random(4)).all()


def test_streams_of_one_seed_are_uncorrelated():
    draws = np.stack([stream(0, "a", i).standard_normal(20_000) for i in range(8)])
    off_diagonal = np.corrcoef(draws)[~np.eye(8, dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(20_000)
