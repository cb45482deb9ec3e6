import ctypes

import pytest
import torch

from sdlcore.memory import in_large_pages


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("number", [0, 10, 1_000_003])
@pytest.mark.parametrize("there", [True, False], ids=["Linux", "elsewhere"])
def test_a_tensor_in_large_pages_stays_where_it_is_with_what_it_holds(monkeypatch, written, number, there):
    def missing(name):
        raise OSError("no such library")

    if not there:
        monkeypatch.setattr(ctypes, "CDLL", missing)
    memory = torch.arange(number + 2, dtype=torch.float32)
    inner = memory[1:-1]
    place = inner.data_ptr()
    assert in_large_pages(inner, written) is inner
    assert inner.data_ptr() == place
    assert torch.equal(memory, torch.arange(number + 2, dtype=torch.float32))
