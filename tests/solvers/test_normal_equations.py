import pytest
import torch

from sdlcore.solvers.codes import largest_correlations, nonnegative_codes
from sdlcore.solvers.normal_equations import NormalEquations, typical_value


def filled(B=200, K=12, d=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(K, d, generator=generator))
    x = torch.randn(B, d, generator=generator)
    codes = nonnegative_codes(x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, 4), 8)
    equations = NormalEquations(K, d)
    equations.add(codes, x, 0.5)
    return equations, atoms, codes, x


def test_sums_are_those_of_dense_codes_and_older_ones_are_forgotten():
    equations, _, codes, x = filled()
    dense = codes.support.dense(codes.values)
    torch.testing.assert_close(equations.A, dense.T @ dense)
    torch.testing.assert_close(equations.B, dense.T @ x)
    equations.add(codes, x, 0.5)
    torch.testing.assert_close(equations.A, 1.5 * dense.T @ dense)
    torch.testing.assert_close(equations.B, 1.5 * dense.T @ x)
    torch.testing.assert_close(equations.energies, 1.5 * dense.square().sum(0))
    torch.testing.assert_close(equations.worth, 1.5 * codes.worths())


def test_a_step_is_ridge_regression_and_lowers_the_error():
    equations, atoms, codes, x = filled()
    dense = codes.support.dense(codes.values).double()
    solved = equations.solve(atoms, 1e-4)
    weight = 1e-4 * typical_value(equations.energies)
    slow = torch.linalg.solve(dense.T @ dense + weight * torch.eye(12), dense.T @ x.double() + weight * atoms)
    torch.testing.assert_close(solved, slow.float(), rtol=1e-3, atol=1e-4)
    assert (x - dense.float() @ solved).square().sum() < codes.errors.sum()


def test_more_atoms_than_samples_are_solved_and_unused_ones_stay():
    equations, atoms, _, _ = filled(B=5, K=60)
    solved = equations.solve(atoms, 1e-4)
    unused = equations.energies == 0
    assert bool(unused.any())
    assert bool(torch.isfinite(solved).all())
    torch.testing.assert_close(solved[unused], atoms[unused])


def test_rescaling_changes_no_reconstruction():
    equations, atoms, codes, x = filled()
    norms = torch.linspace(0.5, 2, len(atoms))
    dense = codes.support.dense(codes.values) * norms
    equations.rescale(norms)
    torch.testing.assert_close(equations.A, dense.T @ dense)
    torch.testing.assert_close(equations.B, dense.T @ x)


def test_atoms_are_forgotten_and_selected():
    equations, _, _, _ = filled()
    A, B = equations.A.clone(), equations.B.clone()
    atoms = torch.tensor([1, 5, 7])
    equations.forget(torch.tensor([5]))
    equations.keep(atoms)
    A[5] = A[:, 5] = B[5] = 0
    torch.testing.assert_close(equations.A, A[atoms][:, atoms])
    torch.testing.assert_close(equations.B, B[atoms])
    assert equations.worth[1] == 0


def test_what_is_typical_is_not_moved_by_what_hardly_matters():
    values = torch.tensor([2.0, 2, 2])
    assert typical_value(values) == pytest.approx(2)
    assert typical_value(torch.cat([values, torch.full((100,), 1e-3)])) == pytest.approx(2, rel=0.05)
    assert typical_value(torch.zeros(3)) == 0


def test_sums_that_no_codes_have_are_refused():
    equations, atoms, _, _ = filled()
    equations.A.fill_diagonal_(-1e9)
    with pytest.raises(ValueError, match="12 atoms have no solution"):
        equations.solve(atoms, 1e-4)
