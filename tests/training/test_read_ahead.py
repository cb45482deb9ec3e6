import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import ActivationStore
from sdlcore.errors import StoreError
from sdlcore.random_streams import stream
from sdlcore.training.read_ahead import ReadAhead
from tests.conftest import REPOSITORY
from tests.stores import write_store

PAIRS = ["sae", "transcoder", "crosscoder"]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("read_ahead") / "store.h5"
    rng = np.random.default_rng(0)
    write_store(path, rng.standard_normal((3000, 6)), target=rng.standard_normal((3000, 4)))
    return path


@pytest.fixture(scope="module")
def store(path):
    with ActivationStore(path) as store:
        yield store


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not threads()


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def reader(store, pair="sae", batch_size=700):
    return BatchReader(store, pair, batch_size, lambda epoch: stream(3, epoch), group_rows=1024)


@settings(max_examples=30)
@given(pair=st.sampled_from(PAIRS), first=st.integers(0, 15), count=st.integers(0, 12), depth=st.integers(1, 5))
def test_batches_are_those_of_direct_calls_to_the_bit(store, pair, first, count, depth):
    direct = reader(store, pair)
    with ReadAhead(reader(store, pair), first, first + count, "cpu", depth) as ahead:
        batches = list(ahead)
    assert [batch.step for batch in batches] == list(range(first, first + count))
    for step, *tensors in batches:
        for tensor, expected in zip(tensors, direct(step), strict=True):
            assert tensor.dtype == torch.float32
            assert tensor.numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_one_array_stays_one_tensor(device):
    x, y = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    with ReadAhead(lambda step: (x, x if step % 2 == 0 else y), 0, 6, device) as ahead:
        assert [x_r is x_p for _, x_p, x_r in ahead] == [True, False] * 3


@NEEDS_GPU
@pytest.mark.parametrize("pair", PAIRS)
def test_a_gpu_gets_the_same_bits(store, pair):
    direct = reader(store, pair)
    with ReadAhead(reader(store, pair), 0, 20, "cuda") as ahead:
        for step, *tensors in ahead:
            for tensor, expected in zip(tensors, direct(step), strict=True):
                assert tensor.is_cuda
                assert tensor.cpu().numpy().tobytes() == expected.tobytes()


def test_one_other_thread_reads_in_order_and_no_further_ahead_than_it_may():
    calls = []

    def batches(step):
        calls.append((step, threading.get_ident()))
        return np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)

    with ReadAhead(batches, 4, 30, "cpu", depth=3) as ahead:
        for step, *_ in ahead:
            time.sleep(0.002)
            assert len(calls) <= (step - 4) + 1 + 3
    assert [step for step, _ in calls] == list(range(4, 30))
    (ident,) = {ident for _, ident in calls}
    assert ident != threading.get_ident()


def test_reading_goes_on_while_the_consumer_works():
    ahead_of_use = threading.Event()

    def batches(step):
        if step == 2:
            ahead_of_use.set()
        return (np.zeros((1, 1), np.float32),) * 2

    with ReadAhead(batches, 0, 10, "cpu") as ahead:
        next(ahead)
        assert ahead_of_use.wait(60), "step 2 is read before step 1 is used"


class Broken(Exception):
    pass


@given(first=st.integers(0, 5), good=st.integers(0, 6), depth=st.integers(1, 4))
def test_what_a_reader_raises_is_raised_at_its_step_with_its_traceback(store, first, good, depth):
    read = reader(store)

    def breaking(step):
        if step == first + good:
            raise Broken(f"step {step}")
        return read(step)

    steps = []
    ahead = ReadAhead(breaking, first, 100, "cpu", depth)
    with pytest.raises(Broken, match=f"^step {first + good}$") as caught, ahead:
        steps.extend(batch.step for batch in iter(ahead.__next__, None))
    assert "breaking" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not threads()
    assert list(ahead) == [], "it is over"


def test_every_batch_before_the_failure_is_read():
    def batches(step):
        if step == 5:
            raise Broken
        return (np.full((1, 1), step, np.float32),) * 2

    steps = []

    def consume():
        with ReadAhead(batches, 0, 9, "cpu", depth=4) as ahead:
            for batch in ahead:
                time.sleep(0.01)  # the failure waits in the queue
                steps.append(batch.step)

    with pytest.raises(Broken):
        consume()
    assert steps == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [StopIteration, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_no_error_of_a_reader_looks_like_the_end_of_the_batches(error):
    def batches(step):
        raise error

    expected = RuntimeError if error is StopIteration else error
    with pytest.raises(expected), ReadAhead(batches, 7, 9, "cpu") as ahead:
        next(ahead)


def test_errors_of_the_store_come_through(tmp_path, path):
    write_store(tmp_path / "input_only.h5", np.zeros((100, 3)))
    message = r"input_only\.h5: pair transcoder needs a source with a target"
    with ActivationStore(tmp_path / "input_only.h5") as store, pytest.raises(ValueError, match=message):
        reader(store, "transcoder", 10)
    store = ActivationStore(path)
    with ReadAhead(reader(store), 0, 100, "cpu", depth=1) as ahead:
        next(ahead)
        store.close()
        with pytest.raises(StoreError, match=r"store\.h5: contains no column 'input'"):
            list(ahead)


@given(stop=st.integers(0, 8), depth=st.integers(1, 4))
def test_a_consumer_that_stops_early_leaves_no_thread(store, stop, depth):
    with ReadAhead(reader(store), 0, 50, "cpu", depth) as ahead:
        for step, *_ in ahead:
            if step == stop:
                break
    assert not threads()
    ahead.close()  # again
    assert list(ahead) == []


def test_a_consumer_that_raises_leaves_no_thread(store):
    with contextlib.suppress(Broken), ReadAhead(reader(store), 0, 50, "cpu") as ahead:
        next(ahead)
        raise Broken
    assert not threads()


def test_closing_waits_for_the_read_that_is_under_way():
    reading, done = threading.Event(), threading.Event()

    def batches(step):
        reading.set()
        time.sleep(0.05)
        done.set()
        return (np.zeros((1, 1), np.float32),) * 2

    ahead = ReadAhead(batches, 0, 50, "cpu")
    reading.wait()
    ahead.close()
    assert done.is_set(), "after closing, nothing may touch the store"
    assert not threads()


def test_a_process_that_ends_without_closing_ends():
    code = """
import numpy as np
from sdlcore.training.read_ahead import ReadAhead
ahead = ReadAhead(lambda step: (np.zeros((1, 1), np.float32),) * 2, 0, 50, "cpu")
keep = [ahead]; keep.append(keep)
next(ahead)
raise SystemExit(3)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 3
