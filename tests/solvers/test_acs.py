import itertools

import pytest
import torch

from sdlcore.random_streams import torch_stream
from sdlcore.solvers.acs import AT_ONCE, alternating_convex_search, gram_of, replace, surplus
from sdlcore.solvers.codes import largest_correlations, nonnegative_codes
from sdlcore.solvers.normal_equations import NormalEquations
from sdlcore.solvers.search import Settled, fit_of, initial_atoms
from sdlcore.solvers.settings import SolverConfig
from tests.solvers.conftest import draw

SMALL = SolverConfig(n_atoms=100, support=8, batch_size=2048)


def search(bench, config=SMALL, seed=0, start=None):
    batches = bench.batches(min(config.batch_size, len(bench.x)))
    return list(alternating_convex_search(batches, config, torch_stream(seed, "initialisation"), start))


def test_all_features_are_recovered_with_their_number(bench):
    steps = search(bench)
    atoms, row = steps[-1]
    assert bench.recovery(atoms) == 1.0
    assert abs(len(atoms) - len(bench.features)) <= 2
    assert len(steps) < SMALL.max_steps
    assert row["fvu"] < 0.05 < steps[0][1]["fvu"]
    assert row["atoms"] == len(atoms)


def test_with_a_threshold_noise_neither_fills_supports_nor_leaves_atoms(bench):
    noise = torch.randn(bench.x.shape, generator=torch_stream(0, "noise"))
    noisy = bench._replace(x=bench.x + 0.5 * bench.x.square().mean().sqrt() * noise)
    (_, without), (atoms, row) = (
        search(noisy, SMALL.changed(threshold=share, max_steps=15))[-1] for share in (0.0, 1.0)
    )
    assert noisy.recovery(atoms) == 1.0
    assert abs(len(atoms) - len(bench.features)) <= 2 < without["atoms"] - len(bench.features)
    # two of 40 features are active on average
    assert row["l0"] < 3 < without["l0"]


def test_the_same_seed_gives_the_same_bits_and_another_gives_others(bench):
    few = SMALL.changed(max_steps=5)
    first, again, other = (search(bench, few, seed)[-1][0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_within_a_pattern_every_convex_step_lowers_the_error(bench):
    x = bench.x[:1024]
    atoms = initial_atoms(x, 60, torch_stream(0, "initialisation"))
    support = largest_correlations(x, atoms, 8)
    start, errors = None, []
    for _ in range(6):
        codes = nonnegative_codes(x, atoms, atoms @ atoms.T, support, 4, start)
        errors.append(float(codes.errors.sum()))
        equations = NormalEquations(*atoms.shape)
        equations.add(codes, x, 0.0)
        solved = equations.solve(atoms, 1e-6)
        errors.append(float((x - codes.reconstruct(solved)).square().sum()))
        norms = solved.norm(dim=1)
        atoms, start = solved / norms[:, None], codes.values * norms[codes.support.columns]
    assert all(later <= earlier * (1 + 1e-5) for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.5 * errors[0]


def test_more_atoms_than_samples_are_no_problem():
    bench = draw(n=40, n_p=32, n_samples=64, seed=1001)
    atoms, _ = search(bench, SMALL.changed(n_atoms=300, max_steps=6, batch_size=64))[-1]
    assert bool(torch.isfinite(atoms).all())


def test_a_search_starts_from_initial_atoms(bench):
    atoms, row = search(bench, SMALL.changed(max_steps=1, replace_steps=0), start=3 * bench.features)[0]
    assert row["fvu"] < 0.05
    assert bench.recovery(atoms) == 1.0


def test_of_close_atoms_that_of_more_energy_stays_and_weak_ones_go():
    atoms = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1]]))
    equations = NormalEquations(4, 3)
    equations.A.diagonal().copy_(torch.tensor([5.0, 9.0, 7.0, 9.0]))
    equations.worth.copy_(torch.tensor([5.0, 9.0, 7.0, 0.01]))
    surplus_atoms = surplus(atoms @ atoms.T, equations, SMALL)
    assert surplus_atoms.duplicate.tolist() == [True, False, False, False]
    assert surplus_atoms.weak.tolist() == [False, False, False, True]


def test_replacements_are_residuals_of_the_worst_samples():
    atoms = torch.eye(4)[:3].contiguous()
    x = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 5], [0, 0, 0.5, 0.1]])
    codes = nonnegative_codes(x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, 2), 8)
    equations = NormalEquations(3, 4)
    equations.add(codes, x, 0.0)
    assert replace(atoms, equations, torch.tensor([True, False, False]), codes, x).tolist() == [0]
    torch.testing.assert_close(atoms[0], torch.tensor([0.0, 0, 0, 1]))
    assert not equations.A[0].any()
    assert not equations.B[0].any()


def test_it_stops_by_error_and_atoms_alone():
    settled = Settled(tolerance=0.02)
    falling = [settled(error, 100) for error in (1.0, 0.8, 0.7, 0.6)]
    pruning = [settled(0.6, atoms) for atoms in (90, 80, 75, 70)]
    assert not any(falling + pruning)
    assert [settled(0.599, 70) for _ in range(3)] == [False, False, True]


def test_supports_grow_while_all_of_them_is_used(bench):
    rows = [row for _, row in search(bench, SMALL.changed(support=1, max_support=4))]
    sizes = [row["support"] for row in rows]
    assert sizes[0] == 1
    assert sizes[-1] in (2, 4)
    assert rows[-1]["fvu"] < 0.5 * rows[SMALL.replace_steps]["fvu"]


@pytest.mark.parametrize("K", [1, AT_ONCE, AT_ONCE + 7])
def test_inner_products_are_those_of_the_product_and_symmetric(K):
    atoms = torch.nn.functional.normalize(torch.randn(K, 12, generator=torch_stream(0, "a")))
    gram = gram_of(atoms)
    torch.testing.assert_close(gram, atoms @ atoms.T)
    assert torch.equal(gram, gram.T)


def test_fvu_is_the_share_of_variance_about_a_mean_however_far(bench):
    x = bench.x[:512] + 100
    atoms = initial_atoms(x, 60, torch_stream(0, "initialisation"))
    codes = nonnegative_codes(x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, 8), 8)
    exact = codes.errors.double().mean() / x.double().var(dim=0, correction=0).sum()
    assert fit_of(codes, x)["fvu"] == pytest.approx(float(exact), rel=1e-4)


@pytest.mark.parametrize("value", [torch.nan, 0.0, 1e9, 1e20, 1e-12, 1e-20])
def test_activations_too_large_or_small_for_solvers_in_float32_are_refused(value):
    with pytest.raises(ValueError, match=r"the largest activation of step 1 is .*, expected 1e-06 to 1e\+06, which"):
        list(alternating_convex_search(lambda step: torch.full((64, 8), value), SMALL, torch_stream(0, "a")))
