"""Whatever happens to a file between its commits is noticed, and nothing else is."""

import os
import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sdlcore.data.block_sums import BLOCK, BlockSums
from sdlcore.data.undo import UndoFile

SLOW = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
PLACES = st.integers(0, 3 * BLOCK)
WRITES = st.lists(st.one_of(st.tuples(PLACES, st.integers(1, BLOCK)), PLACES), min_size=1, max_size=8)


def change(file: UndoFile, writes: list, seed: int) -> None:
    """Write pieces, and truncate where there is only a number."""
    rng = random.Random(seed)
    for write in writes:
        if isinstance(write, int):
            file.truncate(write)
        else:
            file.seek(write[0])
            file.write(rng.randbytes(write[1]))


@SLOW
@given(commits=st.lists(WRITES, min_size=1, max_size=4), lost=WRITES)
@example(commits=[[(0, 1)], [(0, 1)]], lost=[0])
def test_a_file_that_goes_back_to_its_last_commit_is_undamaged(tmp_path_factory, commits, lost):
    path = tmp_path_factory.mktemp("commits") / "file"
    expected = b""
    for number, writes in enumerate(commits):
        file = UndoFile(path)
        assert file.damage is None
        assert file.size == len(expected)
        change(file, writes, number)
        file.commit()
        expected = path.read_bytes()
        change(file, lost, 99)
        file.close()
        assert (path.read_bytes() if path.exists() else b"") == expected
    file = UndoFile(path)
    assert file.damage is None
    file.close()


@SLOW
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), size=st.integers(1, 3 * BLOCK))
def test_a_flipped_bit_is_said_with_its_place(tmp_path_factory, place, bit, size):
    path = tmp_path_factory.mktemp("flipped") / "file"
    file = UndoFile(path)
    file.write(os.urandom(size))
    file.commit()
    file.close()
    content = bytearray(path.read_bytes())
    at = int(place * size)
    content[at] ^= 1 << bit
    path.write_bytes(content)
    file = UndoFile(path)
    first = at // BLOCK * BLOCK
    assert file.damage == f"bytes {first} to {min(size, first + BLOCK) - 1} are not what was written"
    file.clear()
    assert (file.damage, file.size) == (None, 0)
    file.write(b"anew")
    file.commit()
    file.close()
    file = UndoFile(path)
    assert file.damage is None
    file.close()


@pytest.mark.parametrize("part", ["file", "sums"])
def test_what_is_cut_off_is_noticed_wherever_it_is(tmp_path, part):
    path = tmp_path / "file"
    file = UndoFile(path)
    for _ in range(3):
        file.write(os.urandom(BLOCK // 2))
        file.commit()
    file.close()
    whole = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    cut = path if part == "file" else path.with_name("file.sums")
    for size in range(1, len(whole[cut.name]), 97 if part == "file" else 1):
        for name, content in whole.items():
            (tmp_path / name).write_bytes(content)
        os.truncate(cut, size)
        file = UndoFile(path)
        assert file.damage is not None, size
        file.close()


def test_a_commit_that_was_not_finished_is_forgotten_for_good(tmp_path):
    """Killed after its checksums were written, and once more after the file went back."""
    path = tmp_path / "file"
    file = UndoFile(path)
    file.write(b"first")
    file.commit()
    file.write(b"second")
    undone = path.with_name("file.undo").read_bytes()
    file.commit()
    file.close()
    path.with_name("file.undo").write_bytes(undone)
    for _ in range(2):
        file = UndoFile(path)
        assert (file.damage, path.read_bytes()) == (None, b"first")
        file.close()


def test_checksums_that_do_not_follow_one_another_are_not_taken(tmp_path):
    path = tmp_path / "sums"
    with (tmp_path / "file").open("wb+") as file:
        for content in (b"a", b"b"):
            sums = BlockSums(path)
            sums.load(0)
            file.write(content)
            file.flush()
            sums.touch(0, 2)
            sums.commit(file.fileno())
            sums.close(keep=True)
        path.write_bytes(path.read_bytes() * 2)
        assert BlockSums(path).number == 1
