"""Any change of a file with checksums is detected, with its position."""

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.data.checksums import BLOCK, append_checksums, find_damage


@settings(max_examples=30)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), size=st.integers(1, 3 * BLOCK))
def test_a_flipped_bit_is_reported_with_its_place(tmp_path_factory, place, bit, size):
    path = tmp_path_factory.mktemp("flipped") / "file"
    path.write_bytes(os.urandom(size))
    append_checksums(path)
    assert find_damage(path) is None
    content = bytearray(path.read_bytes())
    at = int(place * size)
    content[at] ^= 1 << bit
    path.write_bytes(content)
    first = at // BLOCK * BLOCK
    assert find_damage(path) == f"bytes {first} to {min(size, first + BLOCK) - 1} are not what was written"


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 5])
def test_what_is_cut_off_or_flipped_in_the_seal_is_noticed_wherever_it_is(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(random.Random(size).randbytes(size))
    append_checksums(path)
    whole = path.read_bytes()

    def is_noticed(content: bytes) -> bool:
        path.write_bytes(content)
        try:
            return find_damage(path) is not None
        except LookupError:
            return True

    assert not is_noticed(whole)
    for place in {*range(0, size, 997), *range(size, len(whole))}:
        assert is_noticed(whole[:place]), place
        if place >= size:
            assert is_noticed(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]), place
    assert is_noticed(whole + b"x")
