"""Finished stores are verified, content included, before anything is computed from them."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.data.writing import Progress, resume_store, unite
from sdlcore.errors import SourceError, StoreError
from sdlcore.storage.files import sha256_of
from tests.stores import verify, write_store


def test_what_stands_for_a_store_hangs_on_its_samples_and_not_on_how_they_lie_in_the_file(tmp_path):
    x = np.random.default_rng(0).standard_normal((3000, 7))
    changed = x.copy()
    changed[2999, 6] += 1
    for name, values, rows in (("a.h5", x, 3000), ("b.h5", x, 700), ("c.h5", changed, 3000)):
        with resume_store(tmp_path / name, {"file": name}) as writer:
            for start in range(0, 3000, rows):
                writer.append(values[start : start + rows])
                writer.commit(Progress(0))
    assert (tmp_path / "a.h5").read_bytes() != (tmp_path / "b.h5").read_bytes()
    assert content_digest(tmp_path / "a.h5") == content_digest(tmp_path / "b.h5")
    assert content_digest(tmp_path / "a.h5") != content_digest(tmp_path / "c.h5")
    (tmp_path / "d.json").write_text("{}")
    assert content_digest(tmp_path / "d.json") == sha256_of(tmp_path / "d.json")


@settings(max_examples=settings.default.max_examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_finished_store_is_reported_or_changes_no_sample(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("flipped")
    whole, flipped = folder / "whole.h5", folder / "flipped.h5"
    rng = np.random.default_rng(0)
    with resume_store(whole, {"a": 1}, class_names=["x"]) as writer:
        writer.append(rng.standard_normal((2500, 4)), labels=np.zeros(2500), references={"position": np.arange(2500)})
    content = bytearray(whole.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    flipped.write_bytes(content)
    try:
        verify(flipped)
    except StoreError:
        return
    with ActivationStore(whole) as expected, ActivationStore(flipped) as store:
        for column in expected.columns():
            np.testing.assert_array_equal(expected.read(column), store.read(column))


CHANGES = {
    # beyond the end of a cut file, HDF5 returns zeros
    "cut": lambda path: os.truncate(path, path.stat().st_size // 3),
    "longer": lambda path: os.truncate(path, path.stat().st_size + 4),
    # for any resolution of the clock
    "overwritten": lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1)),
}


@pytest.mark.parametrize("changed", ["one.h5", "b.h5"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_store_or_shard_that_is_written_to_is_refused_by_its_name(tmp_path, change, changed):
    x = np.random.default_rng(0).standard_normal((3000, 40), np.float32)
    for name, rows in {"one.h5": x, "a.h5": x[:1000], "b.h5": x[1000:]}.items():
        write_store(tmp_path / name, rows, dtype="float32")
    unite([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "index.h5", {})
    with ActivationStore(tmp_path / ("one.h5" if changed == "one.h5" else "index.h5")) as store:
        assert store.read("input", 2900).tolist() == x[2900:].tolist()
        CHANGES[change](tmp_path / changed)
        for rows in ((0, 2000), (2990, 3000)):
            with pytest.raises(SourceError, match=rf"{changed}: the file was changed while it was read; repeat the"):
                store.read("input", *rows)
