"""A row that is too small for a store's precision is refused."""

import numpy as np
import pytest

from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import create_store, resume_store
from sdlcore.errors import StoreError
from sdlcore.sources.files.extraction import write_file_stores
from sdlcore.sources.files.settings import FileSource
from tests.stores import write_store

X = np.random.default_rng(0).standard_normal((500, 6))
TINY = {"float16": 1e-9, "bfloat16": 1e-60, "float32": 1e-60}


def with_row(value):
    changed = X.copy()
    changed[301] = value
    return changed


@pytest.mark.parametrize("create", [create_store, resume_store])
@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("column", ["input", "target"])
def test_a_row_that_vanishes_is_refused(tmp_path, create, dtype, column):
    columns = {"input": X, "target": X, column: with_row(TINY[dtype])}
    message = rf"s\.h5: {column}: row 301 has a largest magnitude of .*, which is zero in {dtype}"

    def write():
        with create(tmp_path / "s.h5", {}, dtype) as writer:
            for start in range(0, 500, 100):
                writer.append(**{name: values[start : start + 100] for name, values in columns.items()})

    with pytest.raises(StoreError, match=message):
        write()
    assert not (tmp_path / "s.h5").exists()


def test_rows_of_zeros_stay(tmp_path):
    write_store(tmp_path / "s.h5", with_row(0), dtype="float16")
    with ActivationStore(tmp_path / "s.h5") as store:
        assert not store.read("input", 301, 302).any()


def test_a_file_whose_numbers_vanish_is_named(tmp_path):
    np.save(tmp_path / "x.npy", with_row(-1e-9))
    stores = tmp_path / "train.h5", tmp_path / "test.h5"
    with pytest.raises(StoreError, match=r"x\.npy: row 301 has a largest magnitude of 1e-09, .*; set dtype float32"):
        write_file_stores(FileSource(f"{tmp_path}/x.npy", dtype="float16"), *stores)
    write_file_stores(FileSource(f"{tmp_path}/x.npy"), *stores)
