import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdlcore.data.batches import BatchReader, StorePart
from sdlcore.data.reading import ActivationStore
from sdlcore.random_streams import stream
from tests.stores import write_store


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("reader") / "store.h5"
    rows = np.arange(5000)
    write_store(path, np.stack([rows, -rows], 1), target=np.stack([rows + 0.5] * 3, 1))
    return path


def order(epoch):
    return stream(7, epoch)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 1500), group_rows=st.sampled_from([1, 1024, 3000, 2**16]))
def test_an_epoch_sees_every_row_at_most_once_and_all_but_a_rest(path, batch, group_rows):
    with ActivationStore(path) as store:
        reader = BatchReader(store, "sae", batch, order, group_rows)
        steps = min(reader.steps_per_epoch, 40)
        rows = np.concatenate([reader(step)[0][:, 0] for step in range(steps)])
    assert len(rows) == len(set(rows)) == steps * batch
    assert reader.steps_per_epoch == 5000 // batch


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bounds=st.tuples(st.integers(0, 4990), st.integers(10, 5000)).filter(lambda b: b[0] + 10 <= b[1]))
def test_a_part_of_a_store_has_its_rows_alone(path, bounds):
    with ActivationStore(path) as store:
        part = StorePart(store, *bounds)
        expected = store.read("input")[slice(*bounds)]
        np.testing.assert_array_equal(part.read("input"), expected)
        np.testing.assert_array_equal(part.read("input", 3, 10**6), expected[3:])
        assert len(part.read("input", 10**6, 10**6 + 5)) == 0
        reader = BatchReader(part, "sae", 10, order)
        rows = np.concatenate([reader(step)[0] for step in range(min(reader.steps_per_epoch, 20))])
    assert {tuple(row) for row in rows} <= {tuple(row) for row in expected.tolist()}


def test_input_and_target_stay_together_and_pairs_are_what_they_say(path):
    with ActivationStore(path) as store:
        x_p, x_r = BatchReader(store, "transcoder", 300, order)(3)
        np.testing.assert_array_equal(x_p[:, 0] + 0.5, x_r[:, 0])
        assert (x_p.shape, x_r.shape) == ((300, 2), (300, 3))
        both_p, both_r = BatchReader(store, "crosscoder", 300, order)(3)
        np.testing.assert_array_equal(both_p, np.concatenate([x_p, x_r], 1))
        np.testing.assert_array_equal(both_p, both_r)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(0, 60), group_rows=st.sampled_from([1024, 2**16]))
def test_a_step_reads_the_same_whatever_was_read_before(path, step, group_rows):
    with ActivationStore(path) as store:
        fresh = BatchReader(store, "sae", 333, order, group_rows)(step)[0]
        used = BatchReader(store, "sae", 333, order, group_rows)
        for earlier in (0, 20, 3, step, 40):
            used(earlier)
        np.testing.assert_array_equal(used(step)[0], fresh)


def test_epochs_differ_and_rows_are_mixed(path):
    with ActivationStore(path) as store:
        reader = BatchReader(store, "sae", 5000, order)
        first, second = reader(0)[0][:, 0], reader(1)[0][:, 0]
    assert (first != second).mean() > 0.99
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.1
