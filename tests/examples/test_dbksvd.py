"""Compare the plugin double-batch K-SVD with plain references in numpy."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch

from sdlcore.plugins import registry as plugins
from sdlcore.random_streams import torch_stream
from sdlcore.solvers.registry import solver_of
from sdlcore.solvers.search import initial_atoms
from sdlcore.solvers.settings import SolverConfig
from tests.conftest import REPOSITORY
from tests.solvers.conftest import draw


@pytest.fixture(scope="module")
def dbksvd():
    """Import the plugin, and unregister it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "_REGISTERED", dict(plugins._REGISTERED))
        patch.syspath_prepend(REPOSITORY / "examples/dbksvd")
        yield import_module("dbksvd")
        del sys.modules["dbksvd"]


@pytest.fixture(scope="module")
def bench():
    return draw(n=40, n_p=32, n_samples=8192, seed=1000)


def problem(seed, B=20, K=300, d=8):
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(K, d, generator=generator))
    return torch.randn(B, d, generator=generator), atoms


def plain_pursuit(x, atoms, s, signed, picks):
    """Return the codes of one sample, in float64."""
    codes = np.zeros(len(atoms))
    for _ in range(picks * s):
        gains = atoms @ (x - codes @ atoms)
        change = gains if signed else np.maximum(codes + gains, 0) - codes
        at = int(np.abs(change).argmax())
        if change[at] ** 2 <= 1e-8 * (x @ x) or (codes[at] == 0 and (codes != 0).sum() == s):
            break
        codes[at] += change[at]
    return codes


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("s", [1, 3, 6])
def test_codes_are_those_of_a_plain_matching_pursuit(dbksvd, s, signed):
    x, atoms = problem(s, B=100)
    codes = dbksvd.matching_pursuit(x, atoms, s, signed)
    rows, plain_atoms = x.double().numpy(), atoms.double().numpy()
    plain = [plain_pursuit(row, plain_atoms, s, signed, dbksvd.PICKS) for row in rows]
    # if two picks are equally good up to rounding, the plain pursuit may take the other one
    same = np.isclose(codes.support.dense(codes.values).numpy(), plain, atol=1e-3).all(1)
    assert same.mean() >= 0.9
    errors = (x - codes.reconstruct(atoms)).square().sum(1)
    torch.testing.assert_close(codes.errors, errors, rtol=1e-4, atol=1e-5)
    assert int(codes.support.offsets.diff().max()) == s
    assert bool((codes.support.columns.diff()[codes.support.rows.diff() == 0] > 0).all())


def coded(dbksvd, bench, signed, B):
    """Return samples, atoms, their codes, and an order of the atoms."""
    x = bench.x[:B]
    atoms = initial_atoms(x, 60, torch_stream(0, "initialisation"))
    order = torch.randperm(60, generator=torch_stream(1, "initialisation"))
    return x, atoms, dbksvd.matching_pursuit(x, atoms, 4, signed), order


def error(x, codes, values, atoms):
    return float((x - codes._replace(values=values).reconstruct(atoms)).square().sum())


@pytest.mark.parametrize("signed", [False, True])
def test_each_update_of_one_atom_lowers_the_error_or_leaves_it(dbksvd, bench, signed):
    x, atoms, codes, order = coded(dbksvd, bench, signed, 2048)
    values, last = codes.values, float(codes.errors.sum())
    for one in order.split(1):
        atoms, values = dbksvd.update_atoms(x, atoms, codes._replace(values=values), [one], 1, signed)
        now = error(x, codes, values, atoms)
        assert now <= last * (1 + 1e-5)
        last = now
    assert last < 0.8 * float(codes.errors.sum())
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(60))


def test_the_update_is_the_leading_singular_pair_of_what_the_others_leave(dbksvd, bench):
    x, before, codes, order = coded(dbksvd, bench, True, 400)
    atoms, values = dbksvd.update_atoms(x, before, codes, order.split(1), 60, True)
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


@pytest.mark.usefixtures("dbksvd")
@pytest.mark.parametrize("signed", [False, True])
def test_it_finds_the_features_of_a_small_bench(bench, signed):
    settings = {"n_atoms": 60, "support": 4, "batch_size": 2048, "atom_batch": 8, "signed": signed}
    config, generator = SolverConfig.from_dict({"solver": "dbksvd", **settings}), torch_stream(0, "initialisation")
    *_, (atoms, row) = solver_of("dbksvd")(bench.batches(2048), config, generator, None)
    assert bench.recovery(atoms) >= 0.8
    assert row["fvu"] < 0.05
    assert row["l0"] <= 4
