"""Compare Triton's kernels with float64 products: in Triton's interpreter, or compiled if there is a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdlcore.config import Config
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.sparse.kernels import choice
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.training.step import TrainingStep

pytest.importorskip("triton", reason="Triton has no package for this system")

from sdlcore.sparse.kernels.triton_kernels import TritonKernels

REPOSITORY = Path(__file__).parents[2]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KERNELS = TritonKernels()


def some_and_all(some, others):
    """Return parameters: `make test` takes the first, `make gpu-test` all."""
    return [*some, *(pytest.param(*each, marks=pytest.mark.kernels) for each in others)]


def numbers(seed, *shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).to(DEVICE)


def pattern(seed, rows, n_q, share):
    """Return offsets, columns and mask of a random pattern; the first column is full, the last one empty."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, n_q, generator=generator) < share
    mask[:, 0], mask[:, -1] = share > 0, False
    mask = mask.to(DEVICE)
    return torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0)), mask.nonzero()[:, 1].int(), mask


WIDE = [(3, 4, 700, 0.7), (12, 30, 5, 0.0), (20, 9, 512, 1.0), (40, 3, 1100, 0.5), (6, 50, 33, 0.1)]


@pytest.mark.parametrize("dtype", some_and_all([torch.float32], [(torch.float64,)]))
@pytest.mark.parametrize("seed", some_and_all([0], [(1,), (2,)]))
@pytest.mark.parametrize(("rows", "n_q", "d", "share"), some_and_all([(12, 20, 600, 0.3)], WIDE))
def test_sums_and_dots_equal_dense_products(rows, n_q, d, share, seed, dtype):
    offsets, columns, mask = pattern(seed, rows, n_q, share)
    values, W = numbers(seed, len(columns), dtype=dtype), numbers(seed + 1, n_q, d, dtype=dtype)
    x, gradient = (numbers(seed + number, rows, d, dtype=dtype) for number in (2, 3))
    dense = torch.zeros(mask.shape, dtype=torch.float64, device=DEVICE)
    dense[mask] = values.double()
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-11}

    def assert_close(actual, expected):
        torch.testing.assert_close(tuple(each.double() for each in actual), expected, **tolerance)

    by_latent = KERNELS.transpose(offsets, columns, n_q)
    assert_close([KERNELS.gather_sum(offsets, columns, values, W)], (dense @ W.double(),))
    assert_close([KERNELS.dots(*by_latent, W, x)], ((x.double() @ W.double().T)[mask],))
    to_W = dense.T @ x.double()
    assert_close(KERNELS.scatter_sum(*by_latent, values, x), (to_W, to_W.square().sum(1)))
    to_W = dense.T @ gradient.double()
    expected = to_W, to_W.square().sum(1), (to_W * W.double()).sum(1)
    to_values, *others = KERNELS.decode_backward(*by_latent, values, W, gradient)
    assert_close([to_values], ((gradient.double() @ W.double().T)[mask],))
    assert_close(others, expected)


def test_a_gpu_gets_triton_where_it_is_installed_and_else_torch_and_a_cpu_numba(monkeypatch):
    assert isinstance(choice.kernels_for(torch.device("cpu")), NumbaKernels)
    assert isinstance(choice.kernels_for(torch.device("cuda")), TritonKernels)
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert not isinstance(choice.kernels_for(torch.device("cuda")), TritonKernels)


TRAININGS = {
    "topk": {"activation": "topk", "k": 4, "decoder_norm": "unit", "bias": True, "gradient_clip": 0.1},
    "bfloat16": {"activation": "topk", "k": 4, "precision": "bfloat16"},
    "batchtopk": {"activation": "batchtopk", "k": 4, "prefixes": [10, 40], "decoder_norm": "unit"},
    "multi-scale": {"activation": "topk", "k": 6, "multi_k": [2, 6], "lambda_aux": 0.1, "k_aux": 3, "dead_after": 1},
    "relu": {"activation": "relu", "l1": 0.1, "decoder_norm": "free", "weight_decay": 0.1},
    "jumprelu": {"activation": "jumprelu", "l0": 0.1, "init_threshold": 1.0, "bandwidth": 0.1, "decoder_norm": "unit"},
    "gated": {"activation": "gated", "l1": 0.1, "decoder_norm": "unit", "bias": True},
    "abstopk": {"activation": "abstopk", "k": 4},
    "lista": {"activation": "lista", "k": 4},
    "tied": {"activation": "topk", "k": 4, "tied": True, "lambda_anchor": 1.0},
    "accumulated": {"activation": "topk", "k": 4, "accumulate": 2},
}


@pytest.mark.parametrize("method", some_and_all(["topk"], [(name,) for name in TRAININGS if name != "topk"]))
def test_a_dictionary_is_trained_as_by_the_torch_backend(method):
    config = Config.from_dict({"n_q": 40, "steps": 3, "batch_size": 8, "lr": 1e-3, **TRAININGS[method]})
    directions = torch.nn.functional.normalize(numbers(3, 5, 12))
    x = numbers(4, 3, 8, 12)
    trained = []
    for kernels in (KERNELS, Kernels()):
        model = SparseCoder.from_config(config.model, (12,), (12,), torch_stream(1, "initialisation")).to(DEVICE)
        step = TrainingStep(model, config, (directions, directions) if config.lambda_anchor else None)
        step.kernels = step.optimizer.kernels = kernels
        losses = torch.stack([step(batch, batch, i)["loss"] for i, batch in enumerate(x)])
        trained.append({"losses": losses, **model.state_dict()})
    torch.testing.assert_close(*trained, rtol=1e-4, atol=1e-5)


@pytest.mark.kernels
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_cards_that_are_not_here(capability):
    """Compile for A100 (8.0) and H100 (9.0) with the arguments of trainings, within registers and shared memory."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.sparse.compiled_kernels", str(capability)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.split()) == {"_sums"}
