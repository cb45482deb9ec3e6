import os
import subprocess
import sys

CODE = """if True:
    import torch
    torch.set_num_threads(1)
    import numba
    from sdlcore.sparse.kernels.calling import array, loops
    from sdlcore.model.coder import SparseCoder
    from sdlcore.run import ModelConfig
    model = SparseCoder(ModelConfig(activation="topk", k=2, n_q=64), (8,), (8,), torch.Generator().manual_seed(0))
    model(torch.randn(32, 8)).x_hat.sum().backward()
    print(torch.get_num_threads(), numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
"""


def test_torch_keeps_its_number_of_threads_and_numba_takes_as_many():
    # numba's threads may exceed the machine's cores
    environment = os.environ | {"NUMBA_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["1", "1", "3"]
