"""Compare double-batch K-SVD with plain references in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import torch_stream
from sdlcore.solvers.dbksvd import PICKS, matching_pursuit, orientations, update_atoms
from sdlcore.solvers.dbksvd_loops import pursue
from sdlcore.solvers.registry import solver_of
from sdlcore.solvers.search import initial_atoms
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sparse.kernels.calling import array, set_numba_threads

CONFIG = SolverConfig(solver="dbksvd", n_atoms=60, support=4, batch_size=2048, atom_batch=8, signed=False)


def search(bench, start=None, **changes):
    config = CONFIG.changed(**changes)
    generator = torch_stream(0, "initialisation")
    return list(solver_of("dbksvd")(bench.batches(config.batch_size), config, generator, start))


def problem(seed, B=20, K=300, d=8):
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(K, d, generator=generator))
    return torch.randn(B, d, generator=generator), atoms


def plain_pursuit(x, atoms, s, signed):
    """Return the codes of one sample, in float64."""
    codes = np.zeros(len(atoms))
    for _ in range(PICKS * s):
        gains = atoms @ (x - codes @ atoms)
        change = gains if signed else np.maximum(codes + gains, 0) - codes
        at = int(np.abs(change).argmax())
        if change[at] ** 2 <= 1e-8 * (x @ x) or (codes[at] == 0 and (codes != 0).sum() == s):
            break
        codes[at] += change[at]
    return codes


@given(seed=st.integers(0, 10_000), s=st.integers(1, 6), signed=st.booleans())
def test_codes_are_those_of_a_plain_matching_pursuit(seed, s, signed):
    x, atoms = problem(seed)
    codes = matching_pursuit(x, atoms, s, signed)
    plain = [plain_pursuit(row, atoms.double().numpy(), s, signed) for row in x.double().numpy()]
    # if two picks are equally good up to rounding, the plain pursuit may take the other one
    same = np.isclose(codes.support.dense(codes.values).numpy(), plain, atol=1e-3).all(1)
    assert same.mean() >= 0.9


@pytest.mark.parametrize("signed", [False, True])
def test_a_pursuit_keeps_to_its_support_and_tells_its_error(signed):
    x, atoms = problem(1, B=2500)
    codes = matching_pursuit(x, atoms, 3, signed)
    assert int(codes.support.offsets.diff().max()) == 3
    assert bool((codes.values != 0).all())
    assert bool((codes.values < 0).any()) == signed
    assert bool((codes.support.columns.diff()[codes.support.rows.diff() == 0] > 0).all())
    errors = (x - codes.reconstruct(atoms)).square().sum(1)
    torch.testing.assert_close(codes.errors, errors, rtol=1e-4, atol=1e-5)
    assert bool((matching_pursuit(x, atoms, 5, signed).errors.mean() < codes.errors.mean()).all())


def test_a_sample_of_one_atom_has_one_code_and_a_zero_sample_none():
    _, atoms = problem(2)
    x = torch.stack([2 * atoms[7], torch.zeros(8)])
    codes = matching_pursuit(x, atoms, 4)
    assert codes.support.columns.tolist() == [7]
    torch.testing.assert_close(codes.values, torch.tensor([2.0]))
    torch.testing.assert_close(codes.errors, torch.zeros(2), atol=1e-5, rtol=0)


def updated(bench, changes, B=2048):
    config = CONFIG.changed(**changes)
    x = bench.x[:B]
    atoms = initial_atoms(x, 60, torch_stream(0, "initialisation"))
    codes = matching_pursuit(x, atoms, config.support, config.signed)
    order = torch.randperm(60, generator=torch_stream(1, "initialisation"))
    return x, atoms, codes, order, *update_atoms(x, atoms, codes, order, config)


def error(x, codes, values, atoms):
    return float((x - codes._replace(values=values).reconstruct(atoms)).square().sum())


@pytest.mark.parametrize("signed", [False, True])
def test_each_update_of_one_atom_lowers_the_error_or_leaves_it(bench, signed):
    x, atoms, codes, order, *_ = updated(bench, {"signed": signed})
    config = CONFIG.changed(signed=signed, power_steps=1)
    values, last = codes.values, float(codes.errors.sum())
    for one in order.split(1):
        atoms, values = update_atoms(x, atoms, codes._replace(values=values), one, config)
        now = error(x, codes, values, atoms)
        assert now <= last * (1 + 1e-5)
        last = now
    assert last < 0.8 * float(codes.errors.sum())
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(60))


def test_the_update_is_the_leading_singular_pair_of_what_the_others_leave(bench):
    x, before, codes, order, atoms, values = updated(bench, {"signed": True, "atom_batch": 1, "power_steps": 60}, 400)
    D, X = before.double().numpy(), codes.support.dense(codes.values).double().numpy()
    for a in order.tolist():
        users = np.flatnonzero(X[:, a])
        if len(users) == 0:
            continue
        E = x.double().numpy()[users] - X[users] @ D + np.outer(X[users, a], D[a])
        u, s, vh = np.linalg.svd(E, full_matrices=False)
        sign = np.sign(vh[0] @ D[a])
        D[a], X[users, a] = sign * vh[0], sign * s[0] * u[:, 0]
    cosines = (atoms.double().numpy() * D).sum(1)
    # the power method converges slowly if singular values are close
    assert np.mean(np.abs(cosines) > 0.999) > 0.9
    assert error(x, codes, values, atoms) == pytest.approx(((x.numpy() - X @ D) ** 2).sum(), rel=0.02)


def test_atoms_that_are_updated_at_once_see_the_same_residual(bench):
    x, atoms, codes, order, together, values = updated(bench, {"atom_batch": 60})
    covered_codes = torch.zeros(len(codes.values), dtype=torch.bool)
    for a in order.tolist():
        alone, codes_alone = update_atoms(x, atoms, codes, torch.tensor([a]), CONFIG)
        torch.testing.assert_close(alone[a], together[a])
        its = codes.support.columns == a
        torch.testing.assert_close(codes_alone[its], values[its])
        covered_codes |= its
    assert bool(covered_codes.all())
    assert error(x, codes, values, together) > error(x, codes, *reversed(update_atoms(x, atoms, codes, order, CONFIG)))


@pytest.mark.parametrize("signed", [False, True])
def test_it_finds_the_features_of_a_small_bench(bench, signed):
    steps = search(bench, signed=signed)
    atoms, row = steps[-1]
    assert atoms.shape == (60, 32)
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(60))
    assert bench.recovery(atoms) >= 0.8
    assert row["fvu"] < 0.05
    assert row["l0"] <= 4
    acs = SolverConfig(n_atoms=60, support=4, batch_size=2048)
    assert set(row) == set(next(solver_of("acs")(bench.batches(2048), acs, torch_stream(0, "initialisation"), None))[1])


def test_an_atom_points_to_where_its_codes_have_more_energy():
    x, atoms = problem(3)
    codes = matching_pursuit(x, atoms, 4, signed=True)
    dense = codes.support.dense(codes.values)
    energy = (dense * dense.abs()).sum(0)
    assert torch.equal(orientations(codes.support, codes.values), torch.where(energy < 0, -1.0, 1.0))


def test_atoms_that_no_sample_uses_are_replaced(bench):
    start = bench.features.clone()
    start[3] = -torch.nn.functional.normalize(bench.x.sum(0), dim=0)
    steps = search(bench, start=start, max_steps=8)
    assert steps[0][1]["replaced"] == 1
    assert bench.recovery(steps[-1][0]) == 1.0


def test_where_codes_are_signed_no_sign_of_a_start_matters_nor_what_replaces_unused_atoms(bench):
    # a dimension that is zero in all samples, along which four atoms point: no rounding makes a sample use them
    x, features = (torch.nn.functional.pad(each, (0, 1)) for each in (bench.x, bench.features))
    start = torch.cat([features[4:], torch.eye(33)[-1:].expand(4, 33)])
    turned = start * torch.where(torch.arange(len(start)) % 2 == 0, -1.0, 1.0)[:, None]
    wide = bench._replace(x=x, features=features)
    (atoms, row), (others, _) = (search(wide, start=s, signed=True, max_steps=1)[0] for s in (start, turned))
    assert row["replaced"] == 4
    torch.testing.assert_close(atoms, others)


def test_dbksvd_continues_from_the_atoms_of_another(bench):
    atoms, _ = search(bench, start=bench.features, max_steps=2)[-1]
    assert bench.recovery(atoms) == 1.0
    assert len(atoms) == len(bench.features)


def test_the_same_seed_gives_the_same_bits(bench):
    first, again = (search(bench, max_steps=2)[-1][0] for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("signed", [False, True])
def test_compiled_loops_give_the_same_bits_on_any_number_of_threads(bench, signed):
    """The preceding products with all atoms are the library's, whose order of additions may depend on threads."""
    x = bench.x[:500]
    atoms = initial_atoms(bench.x, 60, torch_stream(0, "initialisation"))
    products, gram, squares = x @ atoms.T, (atoms @ atoms.T).numpy(), x.square().sum(1)
    codes = matching_pursuit(x, atoms, 4, signed)
    order = torch.randperm(60, generator=torch_stream(1, "initialisation"))

    def compute():
        columns, values = torch.zeros(len(x), 4, dtype=torch.int32), torch.zeros(len(x), 4)
        counts, errors = torch.zeros(len(x), dtype=torch.int64), squares.clone()
        written = [array(each) for each in (columns, values, counts, errors)]
        set_numba_threads()
        pursue(products.clone().numpy(), gram, PICKS * 4, signed, *written)
        return columns, values, counts, errors, *update_atoms(x, atoms, codes, order, CONFIG)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = compute()
        torch.set_num_threads(2)
        together = compute()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    ("value", "message"), [(torch.nan, "not finite"), (torch.inf, "not finite"), (0.0, "all zero")]
)
def test_samples_of_which_nothing_can_be_learnt_are_refused(bench, value, message):
    with pytest.raises(ValueError, match=message):
        search(bench._replace(x=bench.x * value))


def test_its_settings_are_no_others():
    settings = {"atom_batch", "power_steps", "signed"}
    assert settings <= set(CONFIG.used())
    assert not settings & set(SolverConfig(solver="ksvd").used())
