"""Stores say which settings, and so which files, they were made by."""

import json

import numpy as np
import pytest

from sdlcore.data.writing import resume_store
from sdlcore.extraction.config import LanguageSource
from sdlcore.sources.files.settings import FileSource
from sdlcore.sources.origins import were_made_by

SOURCE = FileSource("x.npy", labels="labels.npy")


def stored(path, provenance):
    with resume_store(path, provenance, "float32") as store:
        store.append(np.eye(3, dtype=np.float32))
    return str(path)


def test_all_stores_have_to_be_of_just_these_settings(tmp_path):
    stores = [stored(tmp_path / f"{part}.h5", {"source": SOURCE.to_dict()}) for part in ("train", "test")]
    assert were_made_by(stores, SOURCE)
    assert not were_made_by(stores, FileSource("gone.npy", labels="labels.npy"))
    assert not were_made_by(stores, FileSource("x.npy", labels="labels.npy", test_share=0.2))
    assert not were_made_by([*stores, str(tmp_path / "gone.h5")], SOURCE)


def test_lists_of_settings_are_compared_by_what_they_hold(tmp_path):
    source = LanguageSource("models/mine", "a.txt", layers=(1, 2))
    store = stored(tmp_path / "a.h5", {"source": json.loads(json.dumps(source.to_dict()))})
    assert were_made_by([store], source)
    assert not were_made_by([store], LanguageSource("models/mine", "b.txt", layers=(1, 2)))


@pytest.mark.parametrize("provenance", [{}, {"source": "x.npy"}, {"source": {"input": "x.npy", "unknown": 1}}])
def test_a_store_that_does_not_tell_counts_as_another_origin(provenance, tmp_path):
    assert not were_made_by([stored(tmp_path / "a.h5", provenance)], SOURCE)


def test_a_damaged_store_counts_as_another_origin(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no store")
    (tmp_path / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n damaged")
    (tmp_path / "recipe.json").write_text("{}")
    assert not any(were_made_by([str(tmp_path / name)], SOURCE) for name in ("a.h5", "b.h5", "recipe.json"))
