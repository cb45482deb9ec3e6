import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.solvers.codes import denoised_codes, largest_correlations, nonnegative_codes


def problem(seed, B=20, K=12, d=8):
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(K, d, generator=generator))
    return torch.randn(B, d, generator=generator), atoms


def solved(x, atoms, s, sweeps=8):
    return nonnegative_codes(x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, s), sweeps)


@given(seed=st.integers(0, 10_000), s=st.integers(1, 6))
def test_codes_are_those_of_scipys_non_negative_least_squares(seed, s):
    x, atoms = problem(seed)
    codes = solved(x, atoms, s, sweeps=3000)
    offsets, columns = codes.support.offsets, codes.support.columns
    for r in range(len(x)):
        entries = slice(int(offsets[r]), int(offsets[r + 1]))
        few = atoms[columns[entries]].double().numpy()
        if not len(few):
            continue
        _, residual = scipy.optimize.nnls(few.T, x[r].double().numpy())
        assert float(codes.errors[r]) == pytest.approx(residual**2, rel=1e-3, abs=1e-4)


def test_supports_are_the_largest_positive_correlations():
    x, atoms = problem(0)
    support = largest_correlations(x, atoms, 3)
    for r, row in enumerate((x @ atoms.T).numpy()):
        expected = sorted(i for i in np.argsort(row)[-3:] if row[i] > 0)
        assert support.columns[support.offsets[r] : support.offsets[r + 1]].tolist() == expected


def test_errors_are_those_of_the_reconstruction_and_codes_are_not_negative():
    x, atoms = problem(1)
    codes = solved(x, atoms, 5)
    assert bool((codes.values >= 0).all())
    errors = (x - codes.reconstruct(atoms)).square().sum(1)
    torch.testing.assert_close(codes.errors, errors, rtol=1e-4, atol=1e-5)


def test_the_worth_of_an_atom_is_what_the_error_grows_by_without_it():
    x, atoms = problem(5)
    codes = solved(x, atoms, 5, sweeps=500)
    for r in range(len(x)):
        entries = range(int(codes.support.offsets[r]), int(codes.support.offsets[r + 1]))
        active = [i for i in entries if codes.values[i] > 0]
        for i in entries:
            others = atoms[[int(codes.support.columns[j]) for j in active if j != i]].double()
            residual = x[r].double() - others.T @ torch.linalg.pinv(others.T) @ x[r].double()
            expected = float(residual.square().sum() - codes.errors[r]) if i in active else 0.0
            assert float(codes.worth[i]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    torch.testing.assert_close(codes.worths(), codes.support.dense(codes.worth).sum(0))


def test_of_large_supports_some_samples_tell_the_worth_for_all():
    x, atoms = problem(6, B=4000, K=60, d=50)
    x = (x @ atoms.T).relu() @ atoms
    support = largest_correlations(x, atoms, 40)
    some = nonnegative_codes(x, atoms, atoms @ atoms.T, support, 20).worths()
    halves = [
        nonnegative_codes(x[r], atoms, atoms @ atoms.T, largest_correlations(x[r], atoms, 40), 20).worths()
        for r in (slice(0, 2000), slice(2000, 4000))
    ]
    torch.testing.assert_close(some, sum(halves), rtol=0.3, atol=0.05 * float(some.mean()))


def test_more_sweeps_never_reconstruct_worse_and_go_on_from_where_they_are_started():
    x, atoms = problem(2)
    gram, support = atoms @ atoms.T, largest_correlations(x, atoms, 6)
    codes = nonnegative_codes(x, atoms, gram, support, 1)
    for _ in range(5):
        better = nonnegative_codes(x, atoms, gram, support, 1, codes.values)
        assert bool((better.errors <= codes.errors + 1e-5).all())
        codes = better
    torch.testing.assert_close(codes.values, nonnegative_codes(x, atoms, gram, support, 6).values)


def loud_and_quiet(noise, B=400, K=60, d=40):
    """Return samples of four loud features and a quiet one, with noise; the atoms; and the true codes."""
    generator = torch.Generator().manual_seed(3)
    atoms = torch.nn.functional.normalize(torch.randn(K, d, generator=generator))
    active = torch.rand(B, K, generator=generator).argsort(1)[:, :5]
    true = torch.zeros(B, K).scatter(1, active, torch.tensor([5.0, 5.0, 5.0, 5.0, 1.0]).expand(B, 5))
    return true @ atoms + noise * torch.randn(B, d, generator=generator), atoms, true


def denoised(x, atoms, s=8, share=1.0, sweeps=200):
    gram, first = atoms @ atoms.T, solved(x, atoms, s, sweeps)
    return first, denoised_codes(x, atoms, gram, first, s, sweeps, share)


def test_a_second_look_finds_quiet_features_and_drops_what_only_fits_noise():
    x, atoms, true = loud_and_quiet(noise=0.05)
    first, second = denoised(x, atoms)
    wrong = [((codes.support.dense(codes.values) > 0) != (true > 0)).float().sum(1).mean() for codes in (first, second)]
    assert wrong[0] > 3
    assert wrong[1] < 1
    errors = (x - second.reconstruct(atoms)).square().sum(1)
    torch.testing.assert_close(second.errors, errors, rtol=1e-3, atol=1e-4)
    assert float(second.errors.mean()) < 0.5 * float(first.errors.mean())
