"""Batches that a thread reads ahead are those of direct calls, and no thread stays behind."""

import threading
import time
import traceback
from contextlib import closing

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import ActivationStore
from sdlcore.random_streams import stream
from sdlcore.training.read_ahead import read_ahead
from tests.stores import write_store

PAIRS = ["sae", "transcoder", "crosscoder"]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
ONE = (np.zeros((1, 1), np.float32),) * 2


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
    batches = list(read_ahead(reader(store, pair), first, first + count, "cpu", depth))
    assert [batch.step for batch in batches] == list(range(first, first + count))
    for step, *tensors in batches:
        for tensor, expected in zip(tensors, direct(step), strict=True):
            assert tensor.dtype == torch.float32
            assert tensor.numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_one_array_stays_one_tensor(device):
    x, y = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    ahead = read_ahead(lambda step: (x, x if step % 2 == 0 else y), 0, 6, device)
    assert [x_r is x_p for _, x_p, x_r in ahead] == [True, False] * 3


@NEEDS_GPU
@pytest.mark.parametrize("pair", PAIRS)
def test_a_gpu_gets_the_same_bits(store, pair):
    direct = reader(store, pair)
    for step, *tensors in read_ahead(reader(store, pair), 0, 20, "cuda"):
        for tensor, expected in zip(tensors, direct(step), strict=True):
            assert tensor.is_cuda
            assert tensor.cpu().numpy().tobytes() == expected.tobytes()


def test_one_other_thread_reads_in_order_while_the_consumer_works_and_no_further_ahead_than_it_may():
    calls = []

    def batches(step):
        calls.append((step, threading.get_ident()))
        return ONE

    for step, *_ in read_ahead(batches, 4, 30, "cpu", depth=3):
        time.sleep(0.002)
        assert len(calls) <= (step - 4) + 1 + 3
        while len(calls) < min(26, step - 4 + 2):  # read without a call of the consumer
            time.sleep(0.001)
    assert [step for step, _ in calls] == list(range(4, 30))
    (ident,) = {ident for _, ident in calls}
    assert ident != threading.get_ident()


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
    with pytest.raises(Broken, match=f"^step {first + good}$") as caught:
        steps.extend(batch.step for batch in read_ahead(breaking, first, 100, "cpu", depth))
    assert "breaking" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not threads()


@given(stop=st.integers(0, 8), depth=st.integers(1, 4))
def test_a_consumer_that_stops_early_leaves_no_thread(store, stop, depth):
    with closing(read_ahead(reader(store), 0, 50, "cpu", depth)) as ahead:
        for step, *_ in ahead:
            if step == stop:
                break
    assert not threads()
    assert list(ahead) == []


def test_closing_waits_for_the_read_that_is_under_way():
    reading, done = threading.Event(), threading.Event()

    def batches(step):
        if step:
            reading.set()
            time.sleep(0.05)
            done.set()
        return ONE

    ahead = read_ahead(batches, 0, 50, "cpu")
    next(ahead)
    reading.wait()
    ahead.close()
    assert done.is_set(), "after closing, nothing may touch the store"
    assert not threads()
