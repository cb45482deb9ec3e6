"""Arrays in files are read block by block; a file that changes meanwhile is rejected."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sdlcore.storage.npy import Numbers


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    values=arrays.arrays(
        st.sampled_from(["<f4", ">f4", "<f2", "u1", "<i8", "<U3", "M8[s]", "?"]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    by_columns=st.booleans(),
    bounds=st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
)
def test_rows_are_those_that_numpy_reads(tmp_path: Path, values: np.ndarray, by_columns: bool, bounds: tuple[int, int]):
    np.save(path := tmp_path / "x.npy", np.asarray(values, order="F" if by_columns else "C"))
    numbers = Numbers(path)
    assert (numbers.shape, numbers.dtype, numbers.ndim, numbers.size) == (
        *(values.shape, values.dtype, values.ndim, values.size),
    )
    np.testing.assert_array_equal(np.asarray(numbers), values)
    if values.ndim:
        np.testing.assert_array_equal(numbers[slice(*bounds)], values[slice(*bounds)])
        np.testing.assert_array_equal(numbers[::2], values[::2])
        if len(values):
            np.testing.assert_array_equal(numbers[len(values) - 1], values[-1])
    numbers.close()


@pytest.mark.parametrize("change", ["cut", "emptied", "overwritten", "longer"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_is_written_to_is_refused_by_its_name_and_kills_nobody(tmp_path: Path, change: str, order: str):
    path = tmp_path / "x.npy"
    np.save(path, np.asarray(np.ones((5000, 8), np.float32), order=order))
    numbers = Numbers(path)
    assert numbers[:3].tolist() == np.ones((3, 8)).tolist()
    before = path.stat()
    if change == "overwritten":
        with path.open("rb+") as file:
            file.seek(-4, os.SEEK_END)
            file.write(bytes(4))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # for any resolution of the clock
    else:
        os.truncate(path, {"cut": 5000, "emptied": 0, "longer": before.st_size + 4}[change])
    for rows in (slice(0, 10), slice(4990, 5000)):
        with pytest.raises(ValueError, match=r"x\.npy: the file was changed while it was read; repeat the command"):
            numbers[rows]


def test_a_file_that_takes_its_name_does_not_matter(tmp_path: Path):
    path = tmp_path / "x.npy"
    np.save(path, np.ones((4, 2)))
    numbers = Numbers(path)
    np.save(tmp_path / "other.npy", np.zeros((4, 2)))
    (tmp_path / "other.npy").replace(path)
    assert numbers[:].sum() == 8
