"""Measured memory, and the memory budget of a step."""

import mmap

import pytest

from benchmarks import memory
from benchmarks.cases import Setting
from benchmarks.libraries.sdlcore_steps import make


def test_the_budget_is_parameters_moments_gradients_batch_and_one_buffer():
    # 100 parameters, four times in float32; 8 samples of 5 numbers; 8 x 16 pre-activations
    assert memory.budget(100, 8, 5, 16, "float32") * 2**20 == 1600 + 160 + 512
    assert memory.budget(100, 8, 5, 16, "bfloat16") * 2**20 == 1600 + 160 + 256


@pytest.mark.parametrize("method", ["topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated"])
def test_parameters_are_those_that_are_trained(method):
    setting = Setting(method=method).toy
    model = make(setting, None).model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert memory.parameters(method, setting.dimension, setting.latents) == trained


def test_a_peak_outlasts_its_memory_and_is_forgotten_on_request():
    memory.reset_peak()
    before = memory.resident()
    # from the system, because the allocator may have as much memory left from before
    with mmap.mmap(-1, 64 * 2**20) as fresh:
        for page in range(0, len(fresh), mmap.PAGESIZE):
            fresh[page] = 1
    assert memory.peak() - before > 60
    memory.reset_peak()
    assert memory.peak() - before < 30
