"""Compare the CPU kernels with torch operators, and both with dense products."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.sparse.kernels import numba_kernels, tiles
from sdlcore.sparse.kernels.interface import Kernels, Product, SparseRows
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.sparse.kernels.workspace import Workspace

DTYPES = [torch.float32, torch.float64]
NUMBA, TORCH = NumbaKernels(), Kernels()


@st.composite
def patterns(draw):
    """Return offsets, columns, number of columns and rows of a random pattern; rows may be empty."""
    rows, n_q, seed = draw(st.integers(1, 9)), draw(st.integers(1, 70)), draw(st.integers(0, 1000))
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, n_q, generator=generator) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    offsets = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))
    return offsets, mask.nonzero()[:, 1].int(), mask, generator


def both(name, *arguments):
    """Return the result of either backend."""
    return getattr(NUMBA, name)(*arguments), getattr(TORCH, name)(*arguments)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
@given(pattern=patterns(), d=st.integers(1, 300), block=st.integers(1, 80))
def test_tiles_give_what_rows_give(dtype, pattern, d, block):
    offsets, columns, mask, generator = pattern
    rows, n_q = mask.shape
    W, values = (torch.randn(*shape, generator=generator).to(dtype) for shape in ((n_q, d), (len(columns),)))
    x, gradient = (torch.randn(rows, d, generator=generator).to(dtype) for _ in range(2))
    by_latent = NUMBA.transpose(offsets, columns, n_q)

    def all_of_them():
        return (
            NUMBA.gather_sum(offsets, columns, values, W),
            NUMBA.dots(*by_latent, W, x),
            *NUMBA.scatter_sum(*by_latent, values, x),
            *NUMBA.decode_backward(*by_latent, values, W, gradient),
        )

    by_rows = all_of_them()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("BLOCK", block), ("FULL", 0), ("MANY", 0), ("LEAST", 0)):
            patch.setattr(numba_kernels, name, value)
        by_tiles = all_of_them()
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(by_tiles, by_rows, **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@given(pattern=patterns(), d=st.integers(1, 40))
def test_products_equal_the_dense_ones(dtype, pattern, d):
    offsets, columns, mask, generator = pattern
    rows, n_q = mask.shape

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    values, W, x = draw(len(columns)), draw(n_q, d), draw(rows, d)
    dense = torch.zeros(mask.shape, dtype=dtype)
    dense[mask] = values
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    column_offsets, entry_rows, order = NUMBA.transpose(offsets, columns, n_q)
    for result in both("gather_sum", offsets, columns, values, W):
        torch.testing.assert_close(result, dense @ W, **tolerance)
    for result in both("dots", column_offsets, entry_rows, order, W, x):
        torch.testing.assert_close(result, (x @ W.T)[mask], **tolerance)
    to_W = dense.T @ x
    for result in both("scatter_sum", column_offsets, entry_rows, order, values, x):
        torch.testing.assert_close(result, (to_W, to_W.square().sum(1)), **tolerance)
    gradient = draw(rows, d)
    to_W = dense.T @ gradient
    expected = (gradient @ W.T)[mask], to_W, to_W.square().sum(1), (to_W * W).sum(1)
    for result in both("decode_backward", column_offsets, entry_rows, order, values, W, gradient):
        torch.testing.assert_close(tuple(result), expected, **tolerance)
    sites = (d // 3, d - d // 3) if d > 2 else (d,)
    norms = torch.stack([part.norm(dim=1) for part in W.split(sites, dim=1)], 1)
    for result in both("site_norms", W, sites):
        torch.testing.assert_close(result, norms, **tolerance)
    parts = torch.cat([part * norms[:, i : i + 1] for i, part in enumerate(W.split(sites, dim=1))], 1)
    for kernels in (NUMBA, TORCH):
        out = torch.ones_like(W)
        kernels.add_scaled_sites(out, W, sites, norms)
        torch.testing.assert_close(out, 1 + parts, **tolerance)
    for result in both("squared_norms", W):
        torch.testing.assert_close(result, (W * W).sum(1), **tolerance)


@given(pattern=patterns())
def test_a_transposed_pattern_has_the_same_entries_by_column(pattern):
    offsets, columns, mask, _ = pattern
    for column_offsets, rows, order in both("transpose", offsets, columns, mask.shape[1]):
        assert torch.equal(column_offsets, torch.nn.functional.pad(mask.sum(0).cumsum(0), (1, 0)))
        assert torch.equal(rows.long(), mask.T.nonzero()[:, 1])
        assert torch.equal(columns[order].long(), mask.T.nonzero()[:, 0])


@given(pattern=patterns(), ties=st.integers(1, 5))
def test_ranks_are_places_in_a_stable_descending_order(pattern, ties):
    offsets, columns, _, generator = pattern
    values = torch.randint(ties, (len(columns),), generator=generator).float()
    for ranks in both("ranks", offsets, values):
        for start, stop in itertools.pairwise(offsets):
            order = torch.argsort(values[start:stop], descending=True, stable=True)
            assert torch.equal(ranks[start:stop][order], torch.arange(stop - start))


@given(seed=st.integers(0, 1000), rows=st.integers(1, 20), d=st.integers(1, 20))
def test_rows_are_normalised_and_multiplied(seed, rows, d):
    generator = torch.Generator().manual_seed(seed)
    W, gradient = (torch.randn(rows, d, generator=generator, dtype=torch.float64) for _ in range(2))
    W[0] = 0
    for kernels in (NUMBA, TORCH):
        unit = W.clone()
        kernels.normalise_rows(unit, 1e-12)
        torch.testing.assert_close(unit, torch.nn.functional.normalize(W), rtol=1e-12, atol=1e-12)
        products, squares = kernels.row_products(gradient, W)
        torch.testing.assert_close(products, (gradient * W).sum(1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(squares, gradient.square().sum(1), rtol=1e-12, atol=1e-12)


_BITS = """
import os, torch
from sdlcore.sparse.kernels import numba_kernels
from sdlcore.sparse.preactivations import Preactivations
# a process for each number of threads, since imports take longer than what they compute; the second finds it compiled
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
threads = 2 if child else 1
torch.set_num_threads(threads)
generator = torch.Generator().manual_seed(0)
x, W = torch.randn(50, 30, generator=generator), torch.randn(400, 30, generator=generator)
# whole numbers: their product is exact, and so the same on any number of threads
pre = Preactivations((8 * x).round(), (8 * W).round(), torch.zeros(400))
(support, values), (more, _) = pre.largest(20), pre.above(W[:, 0])
pattern, kernels = (support.offsets, support.columns), support.kernels
results = []
for _ in ("by rows", "by tiles"):
    results += [kernels.gather_sum(*pattern, values, W), kernels.dots(*support.by_latent, W, x)]
    results += kernels.scatter_sum(*support.by_latent, values, x)
    results += kernels.decode_backward(*support.by_latent, values, W, x)
    numba_kernels.BLOCK, numba_kernels.FULL, numba_kernels.MANY, numba_kernels.LEAST = 7, 0, 0, 0
print([result.double().sum().item().hex() for result in results], support.columns.tolist(), more.columns.tolist())
"""


def test_the_number_of_threads_changes_no_bit():
    command = [sys.executable, "-c", _BITS]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    one, two = done.stdout.splitlines()
    assert one == two


@settings(max_examples=20)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_a_returned_buffer_is_reused_and_no_other(shape):
    workspace, another = Workspace(), Workspace()
    first = workspace.take(shape, torch.float32)
    second = workspace.take(shape, torch.float32)
    assert first.data_ptr() != second.data_ptr()
    workspace.give(first)
    assert workspace.take(shape, torch.float64).data_ptr() != first.data_ptr()
    assert another.take(shape, torch.float32).data_ptr() != first.data_ptr()
    assert workspace.take(shape, torch.float32).data_ptr() == first.data_ptr()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_products_by_one_dnn_are_those_by_torch(monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 10)
    product = Product(torch.randn(6, 40), torch.randn(55, 40), torch.zeros(55), torch.float32)
    products = []
    for answer in (False, True):
        monkeypatch.setattr(tiles, "_one_dnn", lambda answer=answer: answer)
        products.append([tile.clone() for _, tile in tiles.Tiles(product, Workspace())])
    by_torch, by_one_dnn = products
    torch.testing.assert_close(by_one_dnn, by_torch)


@given(pattern=patterns(), k=st.integers(1, 20), ties=st.integers(1, 5), dtype=st.sampled_from(DTYPES))
def test_a_pattern_is_narrowed_to_the_largest_positive_entries_of_each_row(pattern, k, ties, dtype):
    offsets, columns, _, generator = pattern
    values = torch.randint(-1, ties, (len(columns),), generator=generator).to(dtype)
    entries = SparseRows(offsets, columns, values)
    narrow_offsets, narrow_columns, narrow_values = NUMBA.narrow(entries, k)
    # torch's backend may keep entries that are not positive, too
    of_torch = TORCH.narrow(entries, k)
    for one, other in zip(of_torch.where(of_torch.values > 0), NUMBA.narrow(entries, k), strict=True):
        assert torch.equal(one, other)
    for row, (start, stop) in enumerate(itertools.pairwise(offsets)):
        mine = slice(narrow_offsets[row], narrow_offsets[row + 1])
        order = torch.argsort(values[start:stop], descending=True, stable=True)[:k].sort().values
        order = order[values[start:stop][order] > 0]
        assert torch.equal(narrow_columns[mine], columns[start:stop][order])
        assert torch.equal(narrow_values[mine], values[start:stop][order])


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50))
def test_bfloat16_is_rounded_as_torch_rounds_it(numbers):
    x = torch.tensor([numbers, numbers[::-1]])
    last = x[:, 0].contiguous()
    out = torch.empty(2, len(numbers) + 2, dtype=torch.bfloat16)
    tiles.to_bfloat16(x, last, out)
    assert torch.equal(out[:, :-2], x.bfloat16())
    torch.testing.assert_close(out[:, -2:].double().sum(1), last.double(), rtol=2**-16, atol=1e-37)
