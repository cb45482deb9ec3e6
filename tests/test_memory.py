import ctypes
from types import SimpleNamespace

import pytest
import torch

import sdlcore as sdl
from sdlcore.inside.reader import Reader
from sdlcore.memory import in_large_pages
from tests.extraction.tiny_llama import documents, save_tiny_llama


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("number", [0, 10, 1_000_003])
@pytest.mark.parametrize("available", [True, False], ids=["Linux", "elsewhere"])
def test_a_tensor_in_large_pages_stays_where_it_is_with_what_it_holds(monkeypatch, written, number, available):
    def missing(name):
        raise OSError("no such library")

    if not available:
        monkeypatch.setattr(ctypes, "CDLL", missing)
    memory = torch.arange(number + 2, dtype=torch.float32)
    inner = memory[1:-1]
    place = inner.data_ptr()
    assert in_large_pages(inner, written) is inner
    assert inner.data_ptr() == place
    assert torch.equal(memory, torch.arange(number + 2, dtype=torch.float32))


def test_passes_of_a_language_model_keep_freed_memory(monkeypatch, tmp_path):
    options = []
    libc = SimpleNamespace(mallopt=lambda option, value: options.append(option))
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda name, *more, **how: load(name, *more, **how) if name else libc)
    folder = save_tiny_llama(tmp_path / "lm")
    texts, out = documents(20), tmp_path / "a.h5"
    sdl.extract(folder, texts, at="resid_post.0", max_tokens=60, context_length=8, out=out).close()
    assert options == [-3, -1]  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD in glibc's malloc.h
    Reader(folder, documents(20), torch.device("cpu"))
    assert options == [-3, -1] * 2
