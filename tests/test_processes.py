from hypothesis import given
from hypothesis import strategies as st

from sdlcore.parallel.groups import Group, Processes


class One(Group):
    """One of several processes."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@given(size=st.integers(1, 6), each=st.integers(0, 5))
def test_parts_are_equal_and_in_the_order_of_processes(size, each):
    things = list(range(size * each))
    parts = [things[One(rank, size).part(len(things))] for rank in range(size)]
    assert [thing for part in parts for thing in part] == things
    assert {len(part) for part in parts} == {each}


def test_all_are_those_that_divide_something():
    several = One(1, 2)
    assert Processes(samples=several).all is several
    assert Processes(latents=several).all is several
    assert Processes().all.size == 1
