"""Activation stores: written and read back, described, refused, damaged, and changed while they are read."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.data.shards import unite
from sdlcore.data.writing import Progress, resume_store
from sdlcore.errors import SourceError, StoreError
from sdlcore.storage.files import sha256_of
from tests.refusals import no_warning
from tests.stores import verify, write_store


def block(rows, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "input": rng.standard_normal((rows, 6)),
        "target": rng.standard_normal((rows, 4)),
        "labels": rng.integers(-1, 3, rows),
        "references": {"path": [f"bild-ü{i}.png" for i in range(rows)], "position": np.arange(rows, dtype=np.int64)},
        "features": scipy.sparse.random_array((rows, 9), density=0.3, rng=rng, format="csr"),
    }


def append(writer, input, target=None, **columns):
    writer.append(input, target, **columns)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), dtype=st.sampled_from(["float16", "float32"]))
def test_what_is_written_block_by_block_is_read_back(tmp_path, sizes, dtype):
    blocks = [block(size, seed) for seed, size in enumerate(sizes)]
    path = tmp_path / "store.h5"
    with resume_store(path, {"seed": 1}, dtype, class_names=["a", "b", "ç"]) as writer:
        for part in blocks:
            append(writer, **part)
    with ActivationStore(path) as store:
        assert (store.rows, store.widths) == (sum(sizes), (6, 4))
        assert store.provenance == {"seed": 1}
        assert store.class_names() == ["a", "b", "ç"]
        assert list(store.columns()) == ["input", "target", "labels", "references/path", "references/position"]
        for column in ("input", "target"):
            expected = np.concatenate([part[column] for part in blocks]).astype(dtype)
            assert store.read(column).dtype == dtype
            np.testing.assert_array_equal(store.read(column), expected)
            np.testing.assert_array_equal(store.read(column, 1, 3), expected[1:3])
        np.testing.assert_array_equal(store.read("labels"), np.concatenate([part["labels"] for part in blocks]))
        paths = [path for part in blocks for path in part["references"]["path"]]
        assert list(store.read("references/path")) == paths
        expected = np.concatenate([part["features"].toarray() for part in blocks]).astype(np.float32)
        np.testing.assert_array_equal(store.features().toarray(), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_store_may_have_any_number_of_sites(tmp_path, dtype):
    sites = [np.random.default_rng(site).standard_normal((5, 2 + site)) for site in range(4)]
    with resume_store(tmp_path / "s.h5", {}, dtype) as writer:
        for rows in (slice(0, 2), slice(2, 5)):
            writer.append(*(values[rows] for values in sites))
    verify(tmp_path / "s.h5")
    with ActivationStore(tmp_path / "s.h5") as store:
        assert store.widths == (2, 3, 4, 5)
        assert list(store.columns()) == ["input", "target", "site2", "site3"]
        for column, values in zip(store.columns(), sites, strict=True):
            # float16 keeps 11 binary digits, bfloat16 8: half a unit of the last is at most 2^-11 or 2^-8 of x
            np.testing.assert_allclose(store.read(column), values, rtol=2.0 ** -(11 if dtype == "float16" else 8))


def test_bfloat16_is_rounded_to_nearest_even_and_read_as_float32(tmp_path):
    x = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32) * 10.0 ** np.arange(-4, 4)
    expected = torch.from_numpy(x).bfloat16().float().numpy()
    x.setflags(write=False)  # as of a memory-mapped file, which torch would warn of
    with no_warning():
        write_store(tmp_path / "s.h5", x, dtype="bfloat16")
    with ActivationStore(tmp_path / "s.h5") as store:
        assert store.columns() == {"input": "bfloat16"}
        np.testing.assert_array_equal(store.read("input"), expected)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"input": np.ones((2, 6))}, "block has columns .*, expected .*features"),
        ({**block(2), "labels": np.zeros(3)}, "differ in length"),
        ({**block(2), "input": np.full((2, 6), np.nan)}, r"store\.h5: input: row 2 contains NaN or infinity; leave"),
        (
            {**block(2), "target": np.full((2, 4), 1e6)},
            r"store\.h5: target: row 2 contains 1e\+06, too large for",
        ),
        ({**block(2), "labels": [0.5, 1.0]}, "labels is float64 .*, expected a value of int32 per sample"),
        ({**block(2), "references": {**block(2)["references"], "position": [0.5, 1]}}, "position is float64"),
    ],
)
def test_blocks_that_do_not_fit_are_refused_and_leave_no_file(tmp_path, second, message):
    def write():
        with resume_store(tmp_path / "store.h5", {}, "float16") as writer:
            append(writer, **block(2))
            append(writer, **second)

    with pytest.raises(ValueError, match=message):
        write()
    assert list(tmp_path.iterdir()) == []


def of_version_99(path):
    write_store(path, np.ones((3, 2)))
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 99


@pytest.mark.parametrize(
    "write", [lambda path: path.write_text("hello"), lambda path: h5py.File(path, "w").close(), of_version_99]
)
def test_what_is_not_a_store_is_named(tmp_path, write):
    write(tmp_path / "s.h5")
    with pytest.raises(StoreError, match=r"s\.h5: is .*not an (sdlcore )?activation store.*; write it again"):
        ActivationStore(tmp_path / "s.h5")


@pytest.mark.parametrize(("kilobytes", "rows"), [(1, 20), (150, 4000)], ids=["at the beginning", "in a column"])
def test_a_full_disk_is_named_with_a_remedy_and_leaves_no_store(tmp_path, kilobytes, rows):
    code = f"""
import resource, sys
import numpy as np
from sdlcore.data.writing import resume_store
resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes}_000, {kilobytes}_000))
with resume_store(sys.argv[1], {{}}, "float32") as writer:
    writer.append(np.ones(({rows}, 12)))
"""
    path = tmp_path / "store.h5"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1, "HDF5 crashes if it cannot write the beginning of a file"
    assert (
        f"OSError: [Errno 27] File too large: raise the limit on file sizes (ulimit -f), and run this again: '{path}'"
        in done.stderr
    )
    assert list(tmp_path.iterdir()) == []


X = np.random.default_rng(0).standard_normal((500, 6))
TINY = {"float16": 1e-9, "bfloat16": 1e-60, "float32": 1e-60}


def with_row(value):
    changed = X.copy()
    changed[301] = value
    return changed


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("column", ["input", "target"])
def test_a_row_that_vanishes_is_refused_and_rows_of_zeros_stay(tmp_path, dtype, column):
    columns = {"input": X, "target": X, column: with_row(TINY[dtype])}
    message = rf"s\.h5: {column}: row 301 has a largest magnitude of .*, which is zero in {dtype}"

    def write():
        with resume_store(tmp_path / "s.h5", {}, dtype) as writer:
            for start in range(0, 500, 100):
                append(writer, **{name: values[start : start + 100] for name, values in columns.items()})

    with pytest.raises(StoreError, match=message):
        write()
    assert not (tmp_path / "s.h5").exists()
    write_store(tmp_path / "s.h5", with_row(0), dtype=dtype)
    with ActivationStore(tmp_path / "s.h5") as store:
        assert not store.read("input", 301, 302).any()


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


def test_references_do_not_vanish_from_a_store_if_their_group_is_damaged(tmp_path):
    path = tmp_path / "s.h5"
    write_store(path, np.ones((2, 3)), references={"place": np.arange(2)})
    content = bytearray(path.read_bytes())
    content[content.index(b"place")] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"s\.h5: is damaged"):
        ActivationStore(path)


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
