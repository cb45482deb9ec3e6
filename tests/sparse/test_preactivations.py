import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sdlcore.sparse.kernels import tiles
from sdlcore.sparse.kernels.interface import Kernels, Product
from sdlcore.sparse.kernels.workspace import Workspace
from sdlcore.sparse.preactivations import Preactivations
from tests.int8 import with_int8

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int8]


@st.composite
def cases(draw):
    """Return samples of very different norms, an encoder, a bias, and a number of latents per tile."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    B, n_q, d = draw(st.integers(1, 12)), draw(st.integers(1, 150)), draw(st.integers(2, 20))

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    scale = draw(st.sampled_from([1e-8, 1.0, 1e6]))
    x = normal(B, d) * torch.exp(draw(st.floats(0, 3)) * normal(B, 1)) * scale
    return x, normal(n_q, d), draw(st.sampled_from([0.0, 1.0])) * scale * normal(n_q), draw(st.integers(1, 160))


def searched(monkeypatch, x, W, b, tile, dtype):
    """Return the object, and the numbers that it searches, computed as a whole."""
    monkeypatch.setattr(tiles, "TILE", tile)
    if dtype == torch.float64:
        x, W, b = x.double(), W.double(), b.double()
    if dtype == torch.int8:
        (x_8, by_sample), (W_8, by_latent) = (in_steps(rows) for rows in (x, W))
        whole = (x_8.int() @ W_8.int().T) * (by_sample[:, None] * by_latent) + b
    elif dtype == torch.bfloat16:
        whole = (x.bfloat16() @ W.bfloat16().T).float() + b
    else:
        whole = x @ W.T + b
    return Preactivations(x, W, b, dtype), whole


def in_steps(rows):
    """Return integers from -127 to 127, and their step size."""
    steps = rows.abs().amax(1) / 127
    inverse = torch.where(steps > 0, 1 / steps.double(), 0.0)
    exact = rows * inverse[:, None]
    # the side of a half to which a number is rounded depends on the compiler's order of divisions
    assume(((exact - exact.floor() - 0.5).abs() > 1e-4).all())
    return exact.round().float(), steps


def tolerance(dtype, x, W, b, _tile=0):
    """Compare up to rounding: products of other sizes are rounded differently, in bfloat16 by steps of bfloat16."""
    size = float(x.norm(dim=1).max() * W.norm(dim=1).max() + b.abs().max())
    return {torch.bfloat16: 1e-2, torch.float64: 1e-12}.get(dtype, 1e-5) * size


def assert_near(a, b, dtype, case):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance(dtype, *case))


@pytest.mark.parametrize("dtype", with_int8(DTYPES))
@given(case=cases(), k=st.integers(1, 150))
def test_the_largest_are_the_largest_positive_ones(dtype, case, k):
    with pytest.MonkeyPatch.context() as patch:
        pre, whole = searched(patch, *case, dtype)
        k = min(k, pre.shape[1])
        support, values = pre.largest(k)
    B = len(whole)
    assert support.n_rows == B
    mine = torch.zeros_like(whole).index_put((support.rows, support.columns.long()), values)
    # each value belongs to its position, and each sample has its largest values
    assert_near(mine[support.rows, support.columns.long()], whole[support.rows, support.columns.long()], dtype, case)
    assert_near(mine.topk(k, dim=1).values, whole.topk(k, dim=1).values.clamp(min=0), dtype, case)
    assert (values > 0).all()
    for row in range(B):
        assert (support.columns[support.offsets[row] : support.offsets[row + 1]].diff() > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(case=cases(), levels=st.integers(1, 4), k=st.integers(1, 60))
def test_of_equal_values_the_first_are_selected(dtype, case, levels, k):
    z = torch.randint(-1, levels, (7, case[1].shape[0]), generator=torch.Generator().manual_seed(k)).to(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", case[3])
        pre = Preactivations(z, torch.eye(z.shape[1], dtype=dtype), z.new_zeros(z.shape[1]))
        support, values = pre.largest(min(k, z.shape[1]))
    order = torch.argsort(z, dim=1, descending=True, stable=True)[:, :k]
    expected = torch.zeros_like(z, dtype=torch.bool).scatter_(1, order, True) & (z > 0)
    assert torch.equal(support.dense(torch.ones_like(values)) > 0, expected)
    assert torch.equal(values, z[expected])


@pytest.mark.parametrize("dtype", with_int8(DTYPES))
@given(seed=st.integers(0, 10_000), tile=st.integers(1, 60), k=st.integers(1, 60))
def test_one_product_gives_the_largest_of_both_signs(dtype, seed, tile, k):
    """Sums of small integers are exact in every type, so the order of additions changes no bit."""
    generator = torch.Generator().manual_seed(seed)
    sizes, of_type = [(7, 12), (50, 12), (50,)], torch.float64 if dtype == torch.float64 else torch.float32
    x, W, b = (torch.randint(-3, 4, size, generator=generator).to(of_type) for size in sizes)
    k, products = min(k, 50), []

    class Counted(tiles.Tiles):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            products.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        expected = [Preactivations(sign * x, W, sign * b, dtype).largest(k) for sign in (1, -1)]
        patch.setattr(tiles, "Tiles", Counted)
        actual = Preactivations(x, W, b, dtype).of_both_signs(k)
    assert len(products) == 1
    for (support, values), (same, equal) in zip(actual, expected, strict=True):
        assert torch.equal(support.offsets, same.offsets)
        assert torch.equal(support.columns, same.columns)
        assert torch.equal(values, equal)


@pytest.mark.parametrize("dtype", with_int8(DTYPES))
@given(case=cases(), shift=st.floats(-2, 2))
def test_entries_above_their_bounds_are_selected(dtype, case, shift):
    with pytest.MonkeyPatch.context() as patch:
        pre, whole = searched(patch, *case, dtype)
        bounds = whole.std(0, correction=0) * (shift + torch.linspace(-1, 1, whole.shape[1], dtype=whole.dtype))
        support, values = pre.above(bounds)
    dense = torch.full_like(whole, float("nan")).index_put((support.rows, support.columns.long()), values)
    inside = ~dense.isnan()
    assert_near(dense[inside], whole[inside], dtype, case)
    assert inside[whole > bounds + tolerance(dtype, *case)].all()
    assert not inside[whole < bounds - tolerance(dtype, *case)].any()
    for row in range(len(whole)):
        assert (support.columns[support.offsets[row] : support.offsets[row + 1]].diff() > 0).all()


@pytest.mark.parametrize(
    ("width", "kernels", "message"),
    [(1, {}, "two dimensions or more"), (2, {"kernels": Kernels()}, "on a GPU, set bfloat16")],
)
def test_int8_refuses_what_it_cannot_do(width, kernels, message):
    with pytest.raises(ValueError, match=message):
        Preactivations(torch.ones(3, width), torch.ones(5, width), torch.zeros(5), torch.int8, **kernels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(case=cases(), k=st.integers(1, 150))
def test_what_gpus_do_finds_the_same(dtype, case, k):
    x, W, b, _ = case
    k = min(k, len(W))
    bounds = torch.linspace(-1, 1, len(W)) * x.norm()
    pre = Preactivations(x, W, b, dtype, kernels=Kernels())
    whole = torch.addmm(b.to(dtype), x.to(dtype), W.to(dtype).T).float()
    (some, largest), (more, above) = pre.largest(k), pre.above(bounds)
    (same, equal), (below, negated) = pre.of_both_signs(k)
    assert torch.equal(same.columns, some.columns)
    assert torch.equal(equal, largest)
    assert torch.equal(-negated, whole[below.rows, below.columns.long()])
    assert torch.equal(negated.view(len(x), k).sort(dim=1, descending=True).values, (-whole).topk(k, dim=1).values)
    assert torch.equal(largest.view(len(x), k).sort(dim=1, descending=True).values, whole.topk(k, dim=1).values)
    assert torch.equal(more.rows, (whole > bounds.to(dtype)).nonzero()[:, 0])
    for support, values in ((some, largest), (more, above)):
        assert torch.equal(values, whole[support.rows, support.columns.long()])


@pytest.mark.parametrize("upper", [None, 0.0])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases(), st.integers(1, 40), st.floats(-1, 1))
def test_where_a_search_begins_changes_no_bit(monkeypatch, upper, case, k, towards):
    """For any previous batch, also for one with larger or fewer large entries."""
    x, W, b, tile = case
    monkeypatch.setattr(tiles, "TILE", tile)
    monkeypatch.setattr(tiles, "MANY", 1)
    before = Product(x.flip(1) + towards * x.norm(dim=1)[:, None] * W[0], W, b, torch.int8, upper)
    product, workspace = Product(x, W, b, torch.int8, upper), Workspace()
    tiles.largest(before, k, workspace)
    for actual, alone in zip(tiles.largest(product, k, workspace), tiles.largest(product, k, Workspace()), strict=True):
        assert torch.equal(actual, alone)
