import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sdlcore.training.geometric_median import geometric_median

seeds = st.integers(0, 2**32 - 1)
sizes = {"n": st.integers(3, 60), "d": st.integers(2, 8)}
ROUNDING = torch.finfo(torch.float64).eps


def cloud(seed, n, d):
    """Return n x d points in general position, float64, with a spread of about 1 in each direction."""
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotation(seed, d):
    return torch.linalg.qr(cloud(seed, d, d))[0]


def distances(x, y):
    """Return the sum of distances, which the geometric median minimises."""
    return (x - y).norm(dim=1).sum().item()


@settings(max_examples=30)
@given(seed=seeds, **sizes)
def test_a_general_minimiser_finds_no_smaller_sum_of_distances(seed, n, d):
    x = cloud(seed, n, d)
    minimum = scipy.optimize.minimize(lambda y: distances(x, torch.from_numpy(y)), x.mean(0).numpy(), tol=1e-9)
    assert distances(x, geometric_median(x, max_iterations=10_000)) <= minimum.fun * (1 + 1e-6)


def pull(x, y):
    """Return the norm of the sum of unit vectors from y to the rows elsewhere, and the number of rows at y."""
    offsets = x - y
    lengths = offsets.norm(dim=1)
    here = lengths == 0
    return (offsets[~here] / lengths[~here, None]).sum(0).norm().item(), here.sum().item()


@given(seed=seeds, **sizes)
def test_unit_vectors_to_the_other_rows_balance_at_the_median(seed, n, d):
    x = cloud(seed, n, d)
    x[: n // 3] = x[0].clone()  # some rows coincide
    # a row that is barely the median, or barely not, takes very many iterations
    assume(all(abs(force / here - 1) > 0.02 for force, here in (pull(x, row) for row in x)))
    force, here = pull(x, geometric_median(x, tolerance=1e-6, max_iterations=10_000))
    assert force <= here + 1.1e-6 * n


def test_next_to_a_row_that_is_just_not_the_median_it_is_close_when_it_gives_up():
    """The median of a triangle with an angle of just less than 120 degrees."""
    angle = torch.deg2rad(torch.tensor(119.99, dtype=torch.float64))
    x = torch.stack([torch.zeros(2, dtype=torch.float64), *torch.eye(2, dtype=torch.float64)])
    x[2] = torch.stack([angle.cos(), angle.sin()])
    assert pull(x, x[0])[0] > 1
    y = geometric_median(x)
    assert y.norm() < 0.05
    assert distances(x, y) <= distances(x, x[0]) * (1 + 1e-3)


@given(seed=seeds, turn=seeds, exponent=st.integers(-30, 30), shift=st.floats(-100, 100), **sizes)
def test_it_moves_turns_and_scales_with_the_points(seed, turn, exponent, shift, n, d):
    x = cloud(seed, n, d)
    offset, turned, factor = shift * cloud(turn, 1, d), rotation(turn, d), 10.0**exponent
    expected = factor * (geometric_median(x) @ turned.T + offset)
    median = geometric_median(factor * (x @ turned.T + offset))
    assert (median - expected).norm() <= 1e-4 * factor


@given(seed=seeds, order=seeds, **sizes)
def test_the_order_of_the_rows_does_not_matter(seed, order, n, d):
    x = cloud(seed, n, d)
    shuffled = x[torch.randperm(n, generator=torch.Generator().manual_seed(order))]
    torch.testing.assert_close(geometric_median(shuffled), geometric_median(x), atol=1e-4, rtol=0)


@given(
    seed=seeds, share=st.floats(0, 0.49), far=st.floats(0, 1e12), one_way=st.booleans(), n=st.integers(5, 60),
    d=st.integers(1, 8),
)  # fmt: skip
def test_fewer_than_half_of_the_rows_cannot_carry_it_away(seed, share, far, one_way, n, d):
    """By the balance of unit vectors, the median stays within (1 - a) / sqrt(1 - 2 a) radii of the other points if a
    share a moved (Minsker 2015, "Geometric median and robust estimation in Banach spaces", lemma 2.1)."""
    x = cloud(seed, n, d)
    moved = x.clone()
    m = int(share * n)
    moved[:m] += far * (cloud(seed + 1, 1, d) if one_way else cloud(seed + 1, m, d))
    before = geometric_median(x)
    radius = (x - before).norm(dim=1).max()
    bound = (1 - m / n) / (1 - 2 * m / n) ** 0.5 * radius
    assert (geometric_median(moved, max_iterations=1000) - before).norm() <= bound * (1 + 1e-3)


@given(values=st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=41).filter(lambda v: len(v) % 2))
def test_in_one_dimension_it_is_the_median(values):
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    assert geometric_median(x, max_iterations=10_000).item() == pytest.approx(x.median().item(), abs=1e-6 * 2**21)


@given(seed=seeds, n=st.integers(0, 20), d=st.integers(1, 6))
def test_a_point_with_more_than_half_of_the_rows_is_the_median_exactly(seed, n, d):
    x = cloud(seed, 2 * n + 1, d).float()
    x[: n + 1] = x[0].clone()
    assert torch.equal(geometric_median(x), x[0])


@given(
    x=arrays(
        "float64",
        array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-2, 2).map(float),
    )
)
def test_any_finite_rows_have_a_finite_median_within_their_bounds(x):
    x = torch.from_numpy(x)
    y = geometric_median(x)
    slack = 4 * ROUNDING * x.abs().amax()
    assert ((x.amin(0) - slack <= y) & (y <= x.amax(0) + slack)).all()


@example(x=np.array([[-3.0, 0], [1, -1], [-3, 0], [-3, 1], [-3, 1]]))
@given(x=arrays("float32", array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(-3, 3).map(float)))
def test_on_a_grid_where_rows_coincide_and_align_it_is_no_worse_than_any_row_or_the_mean(x):
    x = torch.from_numpy(x).double()
    y = geometric_median(x)
    best = min(distances(x, other) for other in [*x, x.mean(0)])
    assert distances(x, y) <= best * (1 + 1e-6) + 1e-9


@given(value=st.floats(allow_nan=False, allow_infinity=False, width=32), n=st.integers(1, 9), d=st.integers(1, 5))
def test_the_median_of_equal_rows_is_that_row_exactly(value, n, d):
    x = torch.full((n, d), value)
    assert torch.equal(geometric_median(x), x[0])


def test_a_row_at_the_mean_is_not_mistaken_for_the_median():
    """Weiszfeld's original iteration divides by zero in its first step here."""
    x = torch.tensor([[0.0, 0], [3, 0], [-1, 0], [-1, 0.5], [-1, -0.5]], dtype=torch.float64)
    assert torch.equal(x.mean(0), x[0])
    # two rows pull to the right, one to the left, and two at 60 degrees balance them
    assert geometric_median(x).tolist() == pytest.approx([-1 + 0.5 / 3**0.5, 0], abs=1e-5)


def test_the_result_is_one_row_in_the_precision_of_the_input_without_a_gradient():
    x = cloud(0, 30, 4).float().requires_grad_()
    y = geometric_median(x)
    assert (y.shape, y.dtype, y.requires_grad) == ((4,), torch.float32, False)
    assert geometric_median(x[:1]).tolist() == x[0].tolist()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        *((torch.zeros(shape), "a matrix with at least one row") for shape in ((0, 3), (3, 0), (3,), (2, 2, 2))),
        *((torch.tensor([[0.0, 1.0], [2.0, value]]), "not finite") for value in (torch.nan, torch.inf)),
    ],
)
def test_rows_without_a_median_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        geometric_median(x)
