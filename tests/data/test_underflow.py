"""Numbers that are too small for a store's precision are told of, and no row or dimension is lost without a word."""

import logging
from contextlib import suppress

import numpy as np
import pytest

from sdlcore.data.reading import ActivationStore
from sdlcore.data.resumable import Progress, resume_store
from sdlcore.data.writing import create_store
from sdlcore.errors import SourceError, StoreError
from sdlcore.sources.files.extraction import write_file_stores
from sdlcore.sources.files.settings import FileSource
from tests.stores import write_store

X = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)
TINY = {"float16": 1e-9, "bfloat16": 1e-60, "float32": 1e-60}


def with_row(values, value):
    changed = values.astype(np.float64)
    changed[301] = value
    return changed


def with_dimension(values, value):
    changed = values.astype(np.float64)
    changed[:, 4] = value
    return changed


def write(create, path, dtype, columns):
    with create(path, {}, dtype) as writer:
        for start in range(0, 500, 100):
            writer.append(**{name: values[start : start + 100] for name, values in columns.items()})


@pytest.mark.parametrize("create", [create_store, resume_store])
@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("column", ["input", "target"])
def test_a_row_or_a_dimension_that_vanishes_is_refused(tmp_path, create, dtype, column):
    for x, message in (
        (with_row(X, TINY[dtype]), f"{column} row 301 has a largest magnitude of .*, which is zero in {dtype}"),
        (with_dimension(X, TINY[dtype]), f"{column} dimension 4: nonzero, but too small for {dtype} in every row"),
    ):
        with pytest.raises(StoreError, match=rf"s\.h5: {message}"):
            write(create, tmp_path / "s.h5", dtype, {"input": X, "target": X, column: x})
        assert not (tmp_path / "s.h5").exists()


def test_original_zeros_and_dimensions_with_one_nonzero_number_stay(tmp_path, caplog):
    x = with_row(with_dimension(X, 1e-9), 0)
    x[7, 4] = 1
    x[:, 0] = 0
    write_store(tmp_path / "s.h5", x, dtype="float16")
    share = 498 / (499 * 5) * 100  # among nonzero numbers
    assert f"s.h5: {share:.2g} % of the nonzero numbers in input are too small for float16" in caplog.text
    with ActivationStore(tmp_path / "s.h5") as store:
        assert (store.read("input")[:, 4] != 0).sum() == 1


def test_what_is_exact_is_not_warned_of(tmp_path, caplog):
    x = X.copy()
    x[3, 2] = 1e-30
    for name, values in (("float32", x), ("float16", X.astype(np.float16)), ("bfloat16", x)):
        write_store(tmp_path / "s.h5", values, dtype=name)
    assert caplog.text == ""


def test_an_interruption_does_not_change_the_messages(tmp_path, caplog):
    x = with_dimension(X, 1e-9)
    x[7, 4] = 1  # in the first part alone
    x[400, 5] = 1e-9
    messages = []
    for name, attempts in (("whole.h5", 1), ("resumed.h5", 4)):
        caplog.clear()
        for last in range(1, attempts + 1):
            with suppress(InterruptedError), resume_store(tmp_path / name, {}, "float16") as writer:
                for part in range(writer.state(Progress()).next, 5):
                    writer.append(x[100 * part : 100 * part + 100])
                    writer.commit(Progress(part + 1))
                    if last < attempts:
                        raise InterruptedError
        messages.append([text.replace(name, "") for text in caplog.messages if "too small" in text])
    assert len(messages[0]) == 1
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (with_row(X, -1e-9), r"x\.npy: row 301 has a largest magnitude of 1e-09, .* float16; set dtype float32"),
        (with_dimension(X, 1e-9), r"x\.npy: dimension 4: nonzero, but too small for float16 in every row"),
        (X.astype(np.float64) * 1e-9, r"x\.npy: row 0 has .* which is zero in float16"),
    ],
)
def test_a_file_whose_numbers_vanish_is_named(tmp_path, caplog, x, message):
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(SourceError, match=message):
        write_file_stores(FileSource(f"{tmp_path}/x.npy", dtype="float16"), tmp_path / "train.h5", tmp_path / "test.h5")
    with caplog.at_level(logging.WARNING):
        write_file_stores(FileSource(f"{tmp_path}/x.npy"), tmp_path / "train.h5", tmp_path / "test.h5")
    assert "too small" not in caplog.text
