"""The CPU's kernels against torch operators, and both against dense products."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.model import kernels
from sdlcore.model.kernels import cpu, torch_ops, workspace

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
DTYPES = [torch.float32, torch.float64]


@st.composite
def patterns(draw):
    """Offsets, columns, number of columns and rows of a random pattern; rows may be empty."""
    rows, n_q, seed = draw(st.integers(1, 9)), draw(st.integers(1, 70)), draw(st.integers(0, 1000))
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, n_q, generator=generator) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    offsets = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))
    return offsets, mask.nonzero()[:, 1].int(), mask, generator


def both(name, *arguments):
    """The result of either implementation."""
    return getattr(kernels, name)(*arguments), getattr(torch_ops, name)(*arguments)


@given(pattern=patterns(), d=st.integers(1, 40), at_once=st.integers(1, 80))
def test_rows_are_summed_in_blocks_of_any_size(pattern, d, at_once):
    offsets, columns, mask, generator = pattern
    W = torch.randn(mask.shape[1], d, generator=generator, dtype=torch.float64)
    values = torch.randn(len(columns), generator=generator, dtype=torch.float64)
    out = torch.full((len(mask), d), torch.nan, dtype=torch.float64)
    cpu.gather_sum_by_blocks(*(tensor.numpy() for tensor in (offsets, columns, values, W)), at_once, out.numpy())
    torch.testing.assert_close(out, torch_ops.gather_sum(offsets, columns, values, W), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@given(pattern=patterns(), d=st.integers(1, 40), groups=st.integers(1, 3))
def test_products_equal_the_dense_ones(dtype, pattern, d, groups):
    offsets, columns, mask, generator = pattern
    rows, n_q = mask.shape

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    values, W = draw(len(columns)), draw(n_q, d)
    x_groups = draw((rows + groups - 1) // groups, d)
    dense = torch.zeros(mask.shape, dtype=dtype)
    dense[mask] = values
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    column_offsets, entry_rows, order = kernels.transpose(offsets, columns, n_q)
    repeated = x_groups.repeat_interleave(groups, 0)[:rows]
    for result in both("gather_sum", offsets, columns, values, W):
        torch.testing.assert_close(result, dense @ W, **tolerance)
    for result in both("dots", column_offsets, entry_rows, order, W, x_groups, groups):
        torch.testing.assert_close(result, (repeated @ W.T)[mask], **tolerance)
    to_W = dense.T @ repeated
    for result in both("scatter_sum", column_offsets, entry_rows, order, values, x_groups, groups):
        torch.testing.assert_close(result, (to_W, to_W.square().sum(1)), **tolerance)
    gradient = draw(rows, d)
    to_W = dense.T @ gradient
    expected = (gradient @ W.T)[mask], to_W, to_W.square().sum(1), (to_W * W).sum(1)
    for result in both("decode_backward", column_offsets, entry_rows, order, values, W, gradient):
        torch.testing.assert_close(tuple(result), expected, **tolerance)
    assert torch.equal(torch_ops.take(dense, offsets, columns), values)
    sites = (d // 3, d - d // 3) if d > 2 else (d,)
    norms = torch.stack([part.norm(dim=1) for part in W.split(sites, dim=1)], 1)
    for result in both("site_norms", W, sites):
        torch.testing.assert_close(result, norms, **tolerance)
    parts = torch.cat([part * norms[:, i : i + 1] for i, part in enumerate(W.split(sites, dim=1))], 1)
    for module in (kernels, torch_ops):
        out = torch.ones_like(W)
        module.add_scaled_sites(out, W, sites, norms)
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
    for module in (kernels, torch_ops):
        unit = W.clone()
        module.normalise_rows(unit, 1e-12)
        torch.testing.assert_close(unit, torch.nn.functional.normalize(W), rtol=1e-12, atol=1e-12)
        products, squares = module.row_products(gradient, W)
        torch.testing.assert_close(products, (gradient * W).sum(1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(squares, gradient.square().sum(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_gives_what_the_torch_operators_give_on_the_cpu(device):
    pre = torch.randn(64, 500, generator=torch.Generator().manual_seed(0))
    W = torch.randn(500, 33, generator=torch.Generator().manual_seed(1))
    offsets, columns = torch_ops.topk(pre, 7)
    values = torch_ops.take(pre, offsets, columns)
    there = [tensor.to(device) for tensor in (offsets, columns, values, W)]
    torch.testing.assert_close(
        kernels.gather_sum(*there).cpu(), torch_ops.gather_sum(offsets, columns, values, W), rtol=1e-4, atol=1e-4
    )


_BITS = """
import sys, torch
from sdlcore.model import kernels
from sdlcore.model.preactivations import Preactivations
torch.set_num_threads(int(sys.argv[1]))
generator = torch.Generator().manual_seed(0)
x, W = torch.randn(50, 30, generator=generator), torch.randn(400, 30, generator=generator)
# whole numbers: their product is exact, and so the same on any number of threads
pre = Preactivations((8 * x).round(), (8 * W).round(), torch.zeros(400))
(support, values), (more, _) = pre.largest(20), pre.above(W[:, 0])
pattern = support.offsets, support.columns
results = [kernels.gather_sum(*pattern, values, W), kernels.dots(*support.by_latent, W, x)]
results += kernels.scatter_sum(*support.by_latent, values, x)
kernels.CACHED, kernels.FULL = 7 * W[0].nbytes, 0
results.append(kernels.gather_sum(*pattern, values, W))
print([result.double().sum().item().hex() for result in results], support.columns.tolist(), more.columns.tolist())
"""


def test_the_number_of_threads_changes_no_bit():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _BITS, threads], check=True, capture_output=True, text=True, env=os.environ
        ).stdout
        for threads in ("1", "2")
    }
    assert len(outputs) == 1
    assert next(iter(outputs))


@settings(max_examples=20)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_a_buffer_given_back_is_taken_again_and_no_other(shape):
    workspace.clear()
    first = workspace.take(shape, torch.float32, torch.device("cpu"))
    second = workspace.take(shape, torch.float32, torch.device("cpu"))
    assert first.data_ptr() != second.data_ptr()
    workspace.give(first)
    assert workspace.take(shape, torch.float64, torch.device("cpu")).data_ptr() != first.data_ptr()
    assert workspace.take(shape, torch.float32, torch.device("cpu")).data_ptr() == first.data_ptr()
    workspace.clear()


@given(pattern=patterns(), k=st.integers(1, 20), ties=st.integers(1, 5), dtype=st.sampled_from(DTYPES))
def test_a_pattern_is_narrowed_to_the_largest_positive_entries_of_each_row(pattern, k, ties, dtype):
    offsets, columns, _, generator = pattern
    values = torch.randint(-1, ties, (len(columns),), generator=generator).to(dtype)
    narrow_offsets, narrow_columns, narrow_values = kernels.narrow(offsets, columns, values, k)
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
    kernels.to_bfloat16(x, last, out)
    assert torch.equal(out[:, :-2], x.bfloat16())
    torch.testing.assert_close(out[:, -2:].double().sum(1), last.double(), rtol=2**-16, atol=1e-37)
