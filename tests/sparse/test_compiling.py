"""Compilation of kernels is announced once, to the process that waits for it."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from sdlcore.sparse.kernels import compiling

KERNEL = """
import numba

@numba.njit(cache=True)
def kernel(x):
    return x + 1
"""


def imported(path):
    """Import a file as a new process would."""
    spec = spec_from_file_location("own_kernel", path)
    module = sys.modules["own_kernel"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def messages(monkeypatch):
    monkeypatch.setattr(compiling, "_SAID", [])
    compiling.watch_compiler()
    yield []
    del sys.modules["own_kernel"]


def test_a_compilation_is_announced_once_and_a_cached_kernel_is_not(tmp_path, messages, monkeypatch):
    (tmp_path / "own_kernel.py").write_text(KERNEL)
    with compiling.announcing(messages.append):
        assert imported(tmp_path / "own_kernel.py").kernel(1) == 2
        assert messages == ["Compiling kernels for this processor, once: about a minute"]
        assert imported(tmp_path / "own_kernel.py").kernel(1.5) == 2.5  # compiled, too
        assert len(messages) == 1
        monkeypatch.setattr(compiling, "_SAID", [])
        assert imported(tmp_path / "own_kernel.py").kernel(1) == 2
        assert len(messages) == 1, "it was in the cache"
    imported(tmp_path / "own_kernel.py").kernel(1j)
    assert len(messages) == 1, "nobody listens any more"
