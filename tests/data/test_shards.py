import shutil
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse

from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.data.shards import unite
from sdlcore.data.writing import resume_store
from sdlcore.errors import StoreError
from tests.stores import verify

ROWS = 5000
BOUNDS = [0, 1300, 1301, 4000, ROWS]


def columns(start, stop):
    rows = np.arange(start, stop)
    return {
        "input": np.stack([rows, -rows, rows % 7], 1) / 8,
        "target": np.stack([rows + 0.5] * 2, 1),
        "labels": rows % 2,
        "references": {"path": [f"ü{row}" for row in rows], "position": rows},
    }


def write(path, start, stop, dtype="float32", class_names=("a", "ç"), **changes):
    with resume_store(path, {"start": start}, dtype, class_names) as writer:
        block = {**columns(start, stop), **changes}
        writer.append(block.pop("input"), block.pop("target"), **block)
    return path


def shards_in(folder, dtype="float32"):
    bounds = pairwise(BOUNDS)
    return [write(folder / f"part-{i:05}.h5", *part, dtype) for i, part in enumerate(bounds)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An index, its shards, and one store with the same samples. Tests must not modify them."""
    folder = tmp_path_factory.mktemp("shards 100%b")
    unite(shards_in(folder / "train"), folder / "train.h5", {"who": "test"})
    write(folder / "one.h5", 0, ROWS)
    return folder


@pytest.fixture
def copied(folder, tmp_path):
    """A copy that tests may modify."""
    return shutil.copytree(folder, tmp_path / "copy")


def assert_equal_to_one(index, one):
    with ActivationStore(index) as united, ActivationStore(one) as single:
        assert (united.rows, united.widths) == (single.rows, single.widths)
        assert united.class_names() == single.class_names()
        assert united.chunk_rows == single.chunk_rows
        assert united.columns() == single.columns()
        for column in single.columns():
            assert united.read(column).dtype == single.read(column).dtype
            for part in (slice(0, ROWS), slice(1299, 1302), slice(0, 3), slice(3990, 4010)):
                values, expected = (store.read(column, part.start, part.stop) for store in (united, single))
                np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_an_index_reads_as_the_one_store_that_it_stands_for(tmp_path, dtype):
    unite(shards_in(tmp_path / "train", dtype), tmp_path / "train.h5", {"who": "test"})
    assert_equal_to_one(tmp_path / "train.h5", write(tmp_path / "one.h5", 0, ROWS, dtype))
    with ActivationStore(tmp_path / "train.h5") as store:
        assert store.provenance == {"who": "test"}
        assert store.provenance_of_rows() == {"start": 0}
        assert [shard.path.name for shard in store.shards] == [f"part-{i:05}.h5" for i in range(len(BOUNDS) - 1)]
        assert store.features() is None
    verify(tmp_path / "train.h5")


def test_a_moved_folder_of_an_index_and_shards_opens_from_any_folder(copied, tmp_path, monkeypatch):
    moved = tmp_path / "elsewhere" / "deep"
    moved.parent.mkdir()
    shutil.move(copied, moved)
    assert_equal_to_one(moved / "train.h5", moved / "one.h5")
    monkeypatch.chdir(moved)
    assert_equal_to_one("train.h5", "one.h5")


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_a_shard_that_is_not_as_it_was_united_is_named(copied, damage):
    shard = copied / "train" / "part-00002.h5"
    if damage == "missing":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:1000])
    else:
        write(shard, 1302, 4001)
    with pytest.raises(StoreError, match=r"train\.h5: .*part-00002\.h5"):
        ActivationStore(copied / "train.h5")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"labels": None}, "columns are"),
        ({"dtype": "float16"}, "columns are .*float16.*float32"),
        ({"input": np.ones((10, 4))}, r"dimensions are \(4, 2\), expected .* as in"),
        ({"class_names": ["a", "b"]}, "class names are"),
    ],
)
def test_shards_that_disagree_are_named(tmp_path, other, message):
    first = write(tmp_path / "first.h5", 0, 10)
    second = write(tmp_path / "second.h5", 10, 20, **other)
    with pytest.raises(StoreError, match=rf"second\.h5: its {message}"):
        unite([first, second], tmp_path / "index.h5", {})
    assert not (tmp_path / "index.h5").exists()


def test_shards_with_ground_truth_are_refused(tmp_path):
    with resume_store(tmp_path / "truth.h5", {}) as writer:
        writer.append(np.ones((2, 3)), features=scipy.sparse.csr_array(np.ones((2, 4))))
    with pytest.raises(StoreError, match="ground-truth features"):
        unite([tmp_path / "truth.h5"], tmp_path / "index.h5", {})


def test_the_digest_of_an_index_stands_for_what_its_shards_hold(copied):
    before = content_digest(copied / "train.h5")
    shards = sorted((copied / "train").glob("part-*.h5"))
    unite(shards, copied / "train.h5", {"who": "another"})
    assert content_digest(copied / "train.h5") == before
    write(shards[1], 1300, 1301, input=np.ones((1, 3)))
    unite(shards, copied / "train.h5", {"who": "test"})
    assert content_digest(copied / "train.h5") != before
