"""A search by way of int8 finds the entries of float32."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.sparse import screening
from sdlcore.sparse.kernels import tiles
from sdlcore.sparse.kernels.interface import Product
from sdlcore.sparse.kernels.workspace import Workspace
from sdlcore.sparse.preactivations import Preactivations
from tests.int8 import needs_int8

pytestmark = needs_int8


@st.composite
def cases(draw):
    """Return samples, an encoder and a bias, with unequal norms, directions shared by many, and ties in int8."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    B, n_q, d = draw(st.integers(1, 12)), draw(st.integers(40, 300)), draw(st.integers(2, 40))
    scale = draw(st.sampled_from([1e-22, 1e-6, 1.0, 1e4]))
    x = (normal(B, d) + draw(st.sampled_from([0.0, 30.0]))) * torch.exp(draw(st.floats(0, 2)) * normal(B, 1)) * scale
    W = normal(n_q, d) * torch.exp(draw(st.floats(0, 2)) * normal(n_q, 1))
    alike = draw(st.sampled_from([0.0, 1e-4, 1.0]))
    if alike < 1:
        W = normal(1, d) + alike * W
    return x, W, draw(st.sampled_from([0.0, -1.0, 1.0])) * scale * normal(n_q).abs()


def exact(x, W, b):
    return x.double() @ W.double().T + b.double()


def rounding(x, W, b):
    """Bound of the difference between orders of summation in float32."""
    x, W = x.double(), W.double()  # squares would vanish in float32
    return 1e-5 * float(x.norm(dim=1).max() * W.norm(dim=1).max() + b.abs().max())


def assert_found(entries, wanted_BQ, unsure_BQ, whole_BQ, atol):
    """Entries are the wanted ones, unless rounding decides, and have the values of their positions."""
    rows, columns = entries.support.rows, entries.support.columns.long()
    mine = torch.zeros_like(wanted_BQ)
    mine[rows, columns] = True
    assert (mine == wanted_BQ)[~unsure_BQ].all()
    torch.testing.assert_close(entries.pre.double(), whole_BQ[rows, columns], rtol=0, atol=atol)
    for row in range(len(whole_BQ)):
        assert (entries.support.columns[rows == row].diff() > 0).all()


@given(case=cases(), k=st.integers(1, 40))
def test_the_largest_are_those_of_float32(case, k):
    whole, atol = exact(*case), rounding(*case)
    selection = Preactivations(*case, screened=True).largest(k)
    edge = whole.topk(k, dim=1).values[:, -1:].clamp(min=0)
    assert_found(selection, whole >= edge.clamp(min=1e-300), (whole - edge).abs() <= 2 * atol, whole, atol)
    assert (torch.diff(selection.support.offsets) <= k).all()


@pytest.mark.parametrize("screened", [False, True])
@given(case=cases(), k=st.integers(1, 40), quantile=st.floats(0.5, 1))
def test_the_largest_above_a_samples_bound_are_those_of_float32(screened, case, k, quantile):
    whole, atol = exact(*case), rounding(*case)
    bounds = whole.quantile(quantile, dim=1).clamp(min=0).float()
    selection = Preactivations(*case, screened=screened).largest(k, bounds)
    edge = torch.maximum(whole.topk(k, dim=1).values[:, -1:].clamp(min=1e-300), bounds[:, None])
    expected = (whole >= edge) & (whole > bounds[:, None])
    # entries up to the bound may be found, too
    is_extra = (whole <= bounds[:, None]) & (selection.support.dense(selection.pre) > 0)
    assert_found(selection, expected | is_extra, (whole - edge).abs() <= 2 * atol, whole, atol)


@given(case=cases(), quantile=st.floats(0.5, 1), spread=st.sampled_from([0.0, 1.0]))
def test_those_above_a_bound_are_those_of_float32(case, quantile, spread):
    whole, atol = exact(*case), rounding(*case)
    size = float(whole.abs().max())
    bounds = whole.quantile(quantile) + spread * size * torch.linspace(-0.1, 0.1, whole.shape[1])
    bounds = bounds.float()
    selection = Preactivations(*case, screened=True).above(bounds)
    assert_found(selection, whole > bounds, (whole - bounds).abs() <= 2 * atol, whole, atol)


@pytest.mark.parametrize(
    ("n", "d", "least"),
    # rows of one size are hardest: the rounding of each is near its bound
    [(1, 5, 1e-3), (50, 3, 1e-3), (257, 40, 1e-3), (1100, 300, 1e-3), (50, 2, 10.0), (1000, 2, 10.0), (1000, 3, 10.0)],
)
def test_nearest_rows_are_those_of_float32(n, d, least):
    generator = torch.Generator().manual_seed(n)
    sizes = torch.logspace(math.log10(least), 1, n)
    rows = torch.randn(n, d, generator=generator) * sizes[:, None]
    rows[n // 2] = 0.0
    rows[n // 3] = rows[n // 4]
    neighbours, largest = screening.nearest(rows)
    products = (rows.double() @ rows.double().T).fill_diagonal_(-torch.inf)
    expected = products.max(1).values.clamp(min=0)
    torch.testing.assert_close(largest.double(), expected, rtol=1e-5, atol=1e-6 * float(expected.max()))
    actual = products.gather(1, neighbours[:, None]).squeeze(1)
    torch.testing.assert_close(actual[largest > 0], expected[largest > 0], rtol=1e-5, atol=1e-6 * float(expected.max()))
    assert torch.equal(neighbours[largest == 0], torch.arange(n)[largest == 0])


@given(case=cases())
def test_no_bound_is_below_its_pre_activation(case):
    x, W, b = case
    upper = screening.upper(Product(x, W, b, torch.float32))
    product = tiles.Tiles(upper, Workspace())
    integers = torch.cat([tile.clone() for _, tile in product], 1)
    bounds = integers.double() * product.of_rows[:, :1].double() * product.of_columns[0].double() + product.bias
    bounds += product.of_rows[:, 1:].double() @ product.of_columns[1:].double()
    assert (bounds >= exact(x, W, b)).all()


@pytest.mark.parametrize("where", ["x", "W"])
def test_what_is_not_finite_is_searched_by_float32(where):
    x, W, b = torch.randn(6, 8), torch.randn(100, 8), torch.zeros(100)
    {"x": x, "W": W}[where][3, 2] = torch.nan
    for search in (lambda pre: pre.largest(5), lambda pre: pre.above(torch.zeros(100))):
        actual, expected = (search(Preactivations(x, W, b, screened=screened)) for screened in (True, False))
        assert torch.equal(actual.support.offsets, expected.support.offsets)
        assert torch.equal(actual.support.columns, expected.support.columns)


def test_only_large_products_in_float32_are_screened(monkeypatch):
    monkeypatch.setattr(screening, "pays", lambda: True)
    monkeypatch.setattr(screening, "LEAST", 1000)
    W, b = torch.zeros(100, 5), torch.zeros(100)
    assert Preactivations(torch.zeros(2, 5), W, b).screened
    assert not Preactivations(torch.zeros(1, 5), W, b).screened
    assert not Preactivations(torch.zeros(2, 5), W, b, torch.bfloat16).screened
    assert not Preactivations(torch.zeros(2, 5).double(), W.double(), b.double()).screened
    monkeypatch.setattr(screening, "pays", lambda: False)
    assert not Preactivations(torch.zeros(2, 5), W, b).screened
