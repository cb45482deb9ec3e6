"""Pairs of neighbouring tokens, and batches of them."""

import numpy as np
import pytest

from sdlcore.data.batches import BatchReader, pairs_of, starts_of_pairs
from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import resume_store
from sdlcore.random_streams import stream
from tests.stores import write_store


def order(epoch):
    return stream(7, epoch)


@pytest.mark.parametrize(
    ("document", "position", "block", "starts"),
    [
        ([0, 0, 0, 0], [3, 4, 5, 6], None, [0, 2]),
        ([0, 0, 0, 0, 0], [3, 4, 5, 6, 7], None, [0, 2]),
        ([0, 0, 1, 1, 1], [3, 4, 5, 6, 7], None, [0, 2]),
        ([0, 0, 0, 0], [3, 5, 6, 8], None, [1]),  # a dropped token parts its neighbours
        ([0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5], 3, [0, 3]),
        ([-1, -1, 0, 1], [-1, -1, 0, 1], None, []),  # tokens that packing adds have no position
        ([0], [0], None, []),
    ],
)
def test_pairs_are_consecutive_tokens_of_one_document(document, position, block, starts):
    assert starts_of_pairs(np.array(document), np.array(position), block).tolist() == starts


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A store of documents with gaps: input is (document, position)."""
    path = tmp_path_factory.mktemp("neighbours") / "store.h5"
    mask = np.random.default_rng(0).random(4000) < 0.9
    document, position = np.repeat(np.arange(80), 50)[mask], np.tile(np.arange(50), 80)[mask]
    with resume_store(path, {}, "float32") as writer:
        references = {"document": document.astype(np.int32), "position": position.astype(np.int32)}
        writer.append(np.stack([document, position], axis=1), references=references)
    return path


def test_batches_hold_both_tokens_of_each_pair_and_every_pair_once_an_epoch(path):
    with ActivationStore(path) as store:
        pairs = pairs_of(store)
        reader = BatchReader(store, "sae", 100, order, pairs=pairs)
        epoch = np.concatenate([reader(step)[0] for step in range(reader.steps_per_epoch)])
        again = reader(3)[0]
        later = reader(reader.steps_per_epoch)[0]
    assert 1000 < len(pairs) < 2000
    first, second = epoch[::2], epoch[1::2]
    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    np.testing.assert_array_equal(first[:, 1] + 1, second[:, 1])
    assert reader.steps_per_epoch == 2 * len(pairs) // 100
    assert len(np.unique(epoch, axis=0)) == len(epoch)
    np.testing.assert_array_equal(again, epoch[300:400])
    assert (later != epoch[:100]).any()


def test_blocks_without_pairs_are_skipped(path):
    with ActivationStore(path) as store:
        rows = store.chunk_rows
        pairs = np.array([0, rows // 2, 2 * rows, 3 * rows])  # none in the second block
        # one block in a group, in a new order in each epoch; all pairs in each batch
        reader = BatchReader(store, "sae", 8, order, group_rows=1, pairs=pairs)
        batches = [reader(step)[0] for step in range(8)]
        expected = store.read("input")[np.concatenate([pairs, pairs + 1])]
    for batch in batches:
        np.testing.assert_array_equal(np.sort(batch, axis=0), np.sort(expected, axis=0))


def test_a_store_without_neighbours_and_a_batch_of_too_many_pairs_are_refused(path, tmp_path):
    write_store(
        tmp_path / "alone.h5", np.zeros((2, 2)), references={"document": np.arange(2), "position": np.arange(2)}
    )
    with ActivationStore(tmp_path / "alone.h5") as store:
        assert not len(pairs_of(store))
    with ActivationStore(path) as store, pytest.raises(ValueError, match=r"exceeds its \d+ rows in pairs"):
        BatchReader(store, "sae", 3900, order, pairs=pairs_of(store))
