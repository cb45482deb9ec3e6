import numpy as np
import pytest

from sdlcore.data.arrays import SideBySide
from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import resume_store
from sdlcore.errors import StoreError

ROWS = 7


def written(path, widths, tokens=range(ROWS), **more):
    """Write a store with sites of these widths, whose rows are these tokens of one document."""
    sites = [np.full((len(tokens), width), width, dtype=np.float32) for width in widths]
    tokens = np.array(tokens)
    with resume_store(path, {}, "float32") as writer:
        references = {"document": np.zeros_like(tokens), "position": tokens, "token": tokens}
        writer.append(*sites, references=references, **more)
    return path


def test_the_sites_of_all_stores_are_the_sites_of_one(tmp_path):
    base = written(tmp_path / "base.h5", (3, 5), labels=np.arange(ROWS) % 2)
    chat = written(tmp_path / "chat.h5", (4,))
    with ActivationStore(base) as first, ActivationStore(chat) as second:
        both = SideBySide([first, second])
        assert (both.rows, both.widths) == (ROWS, (3, 5, 4))
        assert [both.read(column, 2, 4).shape for column in ("input", "target", "site2")] == [(2, 3), (2, 5), (2, 4)]
        assert (both.read("site2") == 4).all()
        np.testing.assert_array_equal(both.read("labels"), np.arange(ROWS) % 2)
        assert [both.has(column) for column in ("site2", "site3", "labels")] == [True, False, True]
        assert both.class_names() is None
        assert both.chunk_rows == min(first.chunk_rows, second.chunk_rows)


def test_stores_of_other_rows_are_refused(tmp_path):
    base = written(tmp_path / "base.h5", (3,))
    fewer = written(tmp_path / "fewer.h5", (3,), range(ROWS - 1))
    others = written(tmp_path / "others.h5", (3,), [0, 1, 2, 9, 4, 5, 6])
    with ActivationStore(base) as first:
        with ActivationStore(fewer) as second, pytest.raises(StoreError, match=r"fewer\.h5: has 6 rows, but .* has 7"):
            SideBySide([first, second])
        with ActivationStore(others) as second, pytest.raises(StoreError, match=r"others\.h5: row 3 is not the token"):
            SideBySide([first, second])
