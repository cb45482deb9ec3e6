import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from sdlcore.sparse.kernels import calling

CODE = """if True:
    import torch
    torch.set_num_threads(1)
    import numba
    from sdlcore.sparse.kernels.calling import array, loops
    from sdlcore.model.coder import SparseCoder
    from sdlcore.config import ModelConfig
    config = ModelConfig(activation="topk", k=2, n_q=64)
    model = SparseCoder.from_config(config, (8,), (8,), torch.Generator().manual_seed(0))
    model(torch.randn(32, 8)).x_hat.sum().backward()
    print(torch.get_num_threads(), numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
"""


def test_torch_keeps_its_number_of_threads_and_numba_takes_as_many():
    # numba's threads may exceed the machine's cores
    environment = os.environ | {"NUMBA_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["1", "1", "3"]


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
    monkeypatch.setattr(calling, "_SAID", [])
    calling.watch_compiler()
    yield []
    del sys.modules["own_kernel"]


def test_a_compilation_is_announced_once_and_a_cached_kernel_is_not(tmp_path, messages, monkeypatch):
    (tmp_path / "own_kernel.py").write_text(KERNEL)
    with calling.announcing(messages.append):
        assert imported(tmp_path / "own_kernel.py").kernel(1) == 2
        assert messages == ["Compiling kernels for this processor, once: about a minute"]
        assert imported(tmp_path / "own_kernel.py").kernel(1.5) == 2.5  # compiled, too
        assert len(messages) == 1
        monkeypatch.setattr(calling, "_SAID", [])
        assert imported(tmp_path / "own_kernel.py").kernel(1) == 2
        assert len(messages) == 1, "it was in the cache"
    imported(tmp_path / "own_kernel.py").kernel(1j)
    assert len(messages) == 1, "nobody listens any more"
