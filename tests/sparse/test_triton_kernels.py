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
from sdlcore.sparse.kernels.interface import Descent, Product
from sdlcore.sparse.kernels.torch_kernels import TorchKernels
from sdlcore.training.step import TrainingStep

pytest.importorskip("triton", reason="Triton has no package for this system")

from sdlcore.sparse.kernels import triton_search
from sdlcore.sparse.kernels.triton_kernels import TritonKernels

REPOSITORY = Path(__file__).parents[2]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KERNELS = TritonKernels()


def some_and_all(some, others):
    """Return parameters: `make test` takes the first, `make gpu-test` all."""
    return [*some, *(pytest.param(*each, marks=pytest.mark.kernels) for each in others)]


FLOATS = some_and_all([torch.float32], [(torch.bfloat16,)])


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    """Make small dictionaries be searched in several slices by few programs, because the interpreter is sequential."""
    monkeypatch.setattr(triton_search, "_LEAST", 64)
    monkeypatch.setattr(triton_search, "_ENTRIES", 1)
    if DEVICE == "cpu":
        monkeypatch.setattr(triton_search, "_READ", 1 << 14)


@pytest.fixture(autouse=True)
def bfloat16_in_the_interpreter(monkeypatch):
    """Give the interpreter bfloat16 products with float32 sums; its own multiplies the bits as integers."""
    if DEVICE == "cuda":
        return
    import triton.language as tl
    from triton.runtime.interpreter import interpreter_builder as builder

    def create_dot(a, b, *rest, product=builder.create_dot):
        if a.dtype.scalar == tl.bfloat16:
            a, b = builder.cast_impl(a, tl.float32), builder.cast_impl(b, tl.float32)
        return product(a, b, *rest)

    monkeypatch.setattr(builder, "create_dot", create_dot)


def whole_numbers(seed, *shape, most=8):
    """Return integers, many of them equal, which every type multiplies and sums exactly in any order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, shape, generator=generator).float().to(DEVICE)


def numbers(seed, *shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).to(DEVICE)


def product_of(x, W, b, dtype=torch.float32):
    """Return a product, and its float64 value."""
    return Product(x, W, b, dtype), x.double() @ W.double().T + b.double()


def assert_largest(entries, whole, k):
    """Check that rows hold the k largest entries of a product; of equal ones, those with smaller columns."""
    n = len(whole)
    expected = torch.sort(whole, dim=1, descending=True, stable=True).indices[:, :k].sort(dim=1).values
    assert torch.equal(entries.offsets, torch.arange(n + 1, device=DEVICE) * k)
    assert entries.columns.dtype == torch.int32
    assert torch.equal(entries.columns.view(n, k).long(), expected)
    assert torch.equal(entries.values.view(n, k).double(), whole.gather(1, expected))


SHAPES = [(5, 33, 300, 7)]
MORE = [
    (40, 16, 200, 64),
    (1, 1, 1, 1),
    (3, 70, 129, 129),
    (130, 8, 65, 3),
    (2, 300, 1000, 1),
    (17, 64, 256, 100),
    (9, 5, 400, 300),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", some_and_all([0], [(1,), (2,)]))
@pytest.mark.parametrize(("B", "n_p", "n_q", "k"), some_and_all(SHAPES, MORE))
def test_the_largest_entries_are_those_of_the_whole_product(B, n_p, n_q, k, seed, dtype):
    factors = whole_numbers(seed, B, n_p), whole_numbers(seed + 1, n_q, n_p), whole_numbers(seed + 2, n_q)
    product, whole = product_of(*factors, dtype)
    assert_largest(KERNELS.largest(product, k), whole, k)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", some_and_all([0], [(1,), (2,)]))
@pytest.mark.parametrize(("B", "n_p", "n_q", "k"), some_and_all(SHAPES, MORE))
def test_entries_above_bounds_are_those_of_the_whole_product(B, n_p, n_q, k, seed, dtype):
    factors = whole_numbers(seed, B, n_p), whole_numbers(seed + 1, n_q, n_p), whole_numbers(seed + 2, n_q)
    product, whole = product_of(*factors, dtype)
    # entries equal to their bound do not exceed it; one column keeps all entries, and one keeps none
    bounds = whole.amax(0).minimum(whole_numbers(seed + 3, n_q, most=200).abs()).float()
    bounds[0], bounds[-1] = -torch.inf, torch.inf
    entries = KERNELS.above(product, bounds)
    mask = whole > bounds
    assert torch.equal(torch.diff(entries.offsets), mask.sum(1))
    assert torch.equal(entries.columns.long(), mask.nonzero()[:, 1])
    assert torch.equal(entries.values.double(), whole[mask])


@pytest.mark.kernels
@pytest.mark.parametrize("order", ["ascending", "descending", "equal"])
def test_a_list_has_room_whatever_the_order_of_latents(order):
    size = {"ascending": 1.0, "descending": -1.0, "equal": 0.0}[order]
    W = size * torch.arange(300.0, device=DEVICE)[:, None]
    product, whole = product_of(torch.ones(4, 1, device=DEVICE), W, torch.zeros(300, device=DEVICE))
    assert_largest(KERNELS.largest(product, 9), whole, 9)


def test_later_latents_have_to_exceed_the_least_selected_value(monkeypatch):
    product, whole = product_of(whole_numbers(0, 6, 8), whole_numbers(1, 300, 8), whole_numbers(2, 300))
    passed = []

    def counting(*arguments, collect=triton_search._collected, **options):
        _, bounds, _, counts = arguments
        for _ in collect(*arguments, **options):
            passed.append((bounds.clone(), counts.clone()))
            yield

    monkeypatch.setattr(triton_search, "_collected", counting)
    monkeypatch.setattr(triton_search, "_ENTRIES", 6 * 300)
    KERNELS.largest(product, 5)
    for start, (bounds, counts) in zip((64, 256), passed[1:], strict=True):
        least = whole[:, :start].topk(5).values[:, -1]
        assert torch.equal(bounds.double(), least)
        assert torch.equal(counts.long() - 5, (whole[:, start : 4 * start] > least[:, None]).sum(1))


@pytest.mark.kernels
def test_what_is_no_number_is_selected_as_torch_does():
    x, W, b = whole_numbers(0, 4, 8), whole_numbers(1, 200, 8), whole_numbers(2, 200)
    x[1], W[150], b[3], b[199] = torch.nan, torch.nan, torch.inf, -torch.inf
    product, _ = product_of(x, W, b)
    largest = KERNELS.largest(product, 5).values.view(4, 5)
    assert torch.equal(largest.isnan().sum(1).cpu(), torch.tensor([1, 5, 1, 1]))
    assert torch.equal((largest == torch.inf).sum(1).cpu(), torch.tensor([1, 0, 1, 1]))
    bounds = torch.zeros(200, device=DEVICE)
    ours, torchs = KERNELS.above(product, bounds), TorchKernels().above(product, bounds)
    assert all(torch.equal(one, other) for one, other in zip(ours, torchs, strict=True))


def test_a_product_of_real_numbers_is_exact_to_float32():
    product, whole = product_of(numbers(0, 20, 100), numbers(1, 150, 100), numbers(2, 150))
    entries = KERNELS.largest(product, 10)
    best = whole.topk(10, dim=1).indices.sort(dim=1).values
    assert torch.equal(entries.columns.view(20, 10).long(), best)
    torch.testing.assert_close(entries.values.view(20, 10).double(), whole.gather(1, best), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernels", [KERNELS, TorchKernels()])
def test_weights_in_float64_are_searched_in_float64(kernels):
    factors = (numbers(seed, *shape, dtype=torch.float64) for seed, shape in enumerate(((3, 9), (50, 9), (50,))))
    product, whole = product_of(*factors, torch.float64)
    entries = kernels.largest(product, 4)
    torch.testing.assert_close(entries.values.view(3, 4).sum(1), whole.topk(4).values.sum(1), rtol=1e-12, atol=0)


def test_more_than_all_entries_are_refused():
    product, _ = product_of(numbers(0, 2, 3), numbers(1, 5, 3), numbers(2, 5))
    with pytest.raises(ValueError, match="the 6 largest of 5 entries"):
        KERNELS.largest(product, 6)


def pattern(seed, rows, n_q, share):
    """Return offsets, columns and mask of a random pattern; the first column is full, the last one empty."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, n_q, generator=generator) < share
    mask[:, 0], mask[:, -1] = share > 0, False
    mask = mask.to(DEVICE)
    return torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0)), mask.nonzero()[:, 1].int(), mask


WIDE = [(3, 4, 700, 0.7, 1), (12, 30, 5, 0.0, 1), (20, 9, 512, 1.0, 2), (40, 3, 1100, 0.5, 4), (6, 50, 33, 0.1, 3)]


@pytest.mark.parametrize("dtype", some_and_all([torch.float32], [(torch.float64,)]))
@pytest.mark.parametrize("seed", some_and_all([0], [(1,), (2,)]))
@pytest.mark.parametrize(("rows", "n_q", "d", "share", "groups"), some_and_all([(12, 20, 600, 0.3, 2)], WIDE))
def test_sums_and_dots_equal_dense_products(rows, n_q, d, share, groups, seed, dtype):
    offsets, columns, mask = pattern(seed, rows, n_q, share)
    values, W = numbers(seed, len(columns), dtype=dtype), numbers(seed + 1, n_q, d, dtype=dtype)
    x, gradient = (numbers(seed + 2, n, d, dtype=dtype) for n in (rows // groups, rows))
    dense = torch.zeros(mask.shape, dtype=torch.float64, device=DEVICE)
    dense[mask] = values.double()
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-11}

    def assert_close(actual, expected):
        torch.testing.assert_close(tuple(each.double() for each in actual), expected, **tolerance)

    by_latent = KERNELS.transpose(offsets, columns, n_q)
    assert_close([KERNELS.gather_sum(offsets, columns, values, W)], (dense @ W.double(),))
    repeated = x.double().repeat_interleave(groups, 0)
    assert_close([KERNELS.dots(*by_latent, W, x, groups)], ((repeated @ W.double().T)[mask],))
    to_W = dense.T @ repeated
    assert_close(KERNELS.scatter_sum(*by_latent, values, x, groups), (to_W, to_W.square().sum(1)))
    to_W = dense.T @ gradient.double()
    expected = to_W, to_W.square().sum(1), (to_W * W.double()).sum(1)
    to_values, *others = KERNELS.decode_backward(*by_latent, values, W, gradient)
    assert_close([to_values], ((gradient.double() @ W.double().T)[mask],))
    assert_close(others, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("shape", some_and_all([(9, 40)], [((1, 1),), ((3, 1500),), ((130, 7),)]))
def test_a_step_of_adam_is_the_torch_backends_in_float64(shape, scaled, dtype):
    def descents(dtype):
        sphere = torch.nn.functional.normalize(numbers(0, *shape, dtype=torch.float64))
        steps = []
        for i, p in enumerate((sphere, numbers(1, *shape, dtype=torch.float64), numbers(2, 2500, dtype=torch.float64))):
            gradient, mean = (numbers(seed + i, *p.shape, dtype=torch.float64) for seed in (10, 20))
            square = numbers(30 + i, *p.shape, dtype=torch.float64).square()
            along = (gradient * p).sum(1) if i == 0 else None
            tensors = (each if each is None else each.to(dtype) for each in (p, gradient, mean, square))
            steps.append((*tensors, torch.full((), 5.0 * i, device=DEVICE), None if along is None else along.to(dtype)))
        return [Descent(*each) for each in steps]

    ours, reference = descents(dtype), descents(torch.float64)
    scale = torch.tensor(3.0, device=DEVICE) if scaled else None
    # torch divides gradients by a scale only in float32
    torchs = [each._replace(gradient=each.gradient / 3.0 if scaled else each.gradient) for each in reference]
    torchs = [each if each.along is None or not scaled else each._replace(along=each.along / 3.0) for each in torchs]
    KERNELS.adam(ours, 0.01, (0.9, 0.999), 1e-8, scale)
    TorchKernels().adam(torchs, 0.01, (0.9, 0.999), 1e-8)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    for one, other in zip(ours, torchs, strict=True):
        for name in ("p", "mean", "square", "step"):
            actual, expected = getattr(one, name).double(), getattr(other, name).double()
            torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_a_gpu_gets_triton_where_it_is_installed_and_else_torch(monkeypatch):
    assert isinstance(choice.kernels_for(torch.device("cuda")), TritonKernels)
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert not isinstance(choice.kernels_for(torch.device("cuda")), TritonKernels)
    assert isinstance(choice.kernels_for(torch.device("cuda")), TorchKernels)


TRAININGS = {
    "topk": {"activation": "topk", "k": 4, "decoder_norm": "unit", "bias": True, "gradient_clip": 0.1},
    "bfloat16": {"activation": "topk", "k": 4, "precision": "bfloat16"},
    "batchtopk": {"activation": "batchtopk", "k": 4, "prefixes": [10, 40], "decoder_norm": "unit"},
    "multi-scale": {"activation": "topk", "k": 6, "multi_k": [2, 6], "lambda_aux": 0.1, "k_aux": 3, "dead_after": 1},
    "relu": {"activation": "relu", "l1": 0.1, "decoder_norm": "free", "weight_decay": 0.1},
    "jumprelu": {"activation": "jumprelu", "l0": 0.1, "init_threshold": 1.0, "bandwidth": 0.1, "decoder_norm": "unit"},
    "gated": {"activation": "gated", "l1": 0.1, "decoder_norm": "unit", "bias": True},
    "tied": {"activation": "topk", "k": 4, "tied": True, "lambda_anchor": 1.0},
    "accumulated": {"activation": "topk", "k": 4, "accumulate": 2},
}


@pytest.mark.parametrize("method", some_and_all(["topk"], [(name,) for name in TRAININGS if name != "topk"]))
def test_a_dictionary_is_trained_as_by_the_torch_backend(method):
    config = Config.from_dict({"n_q": 40, "steps": 3, "batch_size": 8, "lr": 1e-3, **TRAININGS[method]})
    directions = torch.nn.functional.normalize(numbers(3, 5, 12))
    x = numbers(4, 3, 8, 12)
    trained = []
    for kernels in (KERNELS, TorchKernels()):
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
    assert set(done.stdout.split()) == {"_collect", "_settle", "_sums", "_adam"}
