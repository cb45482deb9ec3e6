"""A row that is too small for a store's precision is refused."""

import numpy as np
import pytest

from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import create_store, resume_store
from sdlcore.errors import StoreError
from tests.stores import write_store

X = np.random.default_rng(0).standard_normal((500, 6))
TINY = {"float16": 1e-9, "bfloat16": 1e-60, "float32": 1e-60}


def with_row(value):
    changed = X.copy()
    changed[301] = value
    return changed


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize(("create", "column"), [(create_store, "input"), (resume_store, "target")])
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
