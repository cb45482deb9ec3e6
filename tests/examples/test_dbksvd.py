"""Compare the plugin double-batch K-SVD with plain references in numpy."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch

from sdlcore.plugins import registry as plugins
from sdlcore.random_streams import torch_stream
from sdlcore.solvers.registry import solver_of
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


@pytest.mark.usefixtures("dbksvd")
@pytest.mark.parametrize("signed", [False, True])
def test_it_finds_the_features_of_a_small_bench(bench, signed):
    settings = {"n_atoms": 60, "support": 4, "batch_size": 2048, "atom_batch": 8, "signed": signed}
    config, generator = SolverConfig.from_dict({"solver": "dbksvd", **settings}), torch_stream(0, "initialisation")
    *_, (atoms, row) = solver_of("dbksvd")(bench.batches(2048), config, generator, None)
    assert bench.recovery(atoms) >= 0.8
    assert row["fvu"] < 0.05
    assert row["l0"] <= 4
