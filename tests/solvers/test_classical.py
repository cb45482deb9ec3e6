"""Compare the three solvers with each other."""

import pytest
import torch

from sdlcore.random_streams import torch_stream
from sdlcore.solvers.codes import largest_correlations, nonnegative_codes
from sdlcore.solvers.ksvd import update_atoms
from sdlcore.solvers.registry import solver_of
from sdlcore.solvers.search import initial_atoms
from sdlcore.solvers.settings import SolverConfig

CLASSICAL = {
    "ksvd": SolverConfig(solver="ksvd", n_atoms=60, support=4, batch_size=2048),
    "odl": SolverConfig(solver="odl", n_atoms=60, support=4, batch_size=1024, l1=0.1, max_steps=30),
}


def search(bench, name, start=None, **changes):
    config = CLASSICAL[name].changed(**changes)
    generator = torch_stream(0, "initialisation")
    return list(solver_of(name)(bench.batches(config.batch_size), config, generator, start))


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_solvers_find_most_features_and_no_better_than_acs(bench, name):
    steps = search(bench, name)
    atoms, row = steps[-1]
    assert len(atoms) == 60
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(60))
    assert bench.recovery(atoms) >= 0.7
    acs = SolverConfig(n_atoms=60, support=4, batch_size=2048)
    acs_atoms, best = list(solver_of("acs")(bench.batches(2048), acs, torch_stream(0, "initialisation"), None))[-1]
    assert bench.recovery(acs_atoms) == 1.0 >= bench.recovery(atoms)
    assert set(row) == set(best)


def test_centres_are_features_where_one_at_a_time_is_active_and_near_them_where_several_are(bench):
    config = SolverConfig(solver="kmeans", n_atoms=60, support=4, batch_size=2048)
    alone = bench.features[torch.arange(8192) % 40] * torch.rand(8192, 1).add(0.1)
    for x, exact in ((alone, True), (bench.x, False)):
        batches = bench._replace(x=x).batches(2048)
        atoms, _ = list(solver_of("kmeans")(batches, config, torch_stream(0, "initialisation"), None))[-1]
        torch.testing.assert_close(atoms.norm(dim=1), torch.ones(60))
        assert bench.recovery(atoms) > 0.7
        assert (float(((bench.features @ atoms.T).amax(0) > 0.999).float().mean()) > 0.7) == exact


def test_samples_of_zeros_take_the_place_of_no_atom():
    x = torch.zeros(32, 8)
    x[:4] = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    config = SolverConfig(solver="ksvd", n_atoms=16, support=4, max_steps=2)
    for atoms, _ in solver_of("ksvd")(lambda _: x, config, torch_stream(0, "initialisation"), None):
        torch.testing.assert_close(atoms.norm(dim=1), torch.ones(16))


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_same_seed_gives_the_same_bits(bench, name):
    assert torch.equal(search(bench, name, max_steps=2)[-1][0], search(bench, name, max_steps=2)[-1][0])


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_solver_continues_from_the_atoms_of_another(bench, name):
    atoms, _ = search(bench, name, start=bench.features, max_steps=2)[-1]
    assert bench.recovery(atoms) == 1.0
    assert len(atoms) == len(bench.features)


def test_rank_one_updates_lower_the_error_and_name_what_is_not_used(bench):
    x = bench.x[:512]
    atoms = initial_atoms(x, 60, torch_stream(0, "initialisation"))
    atoms[7] = -torch.nn.functional.normalize(x.sum(0), dim=0)
    codes = nonnegative_codes(x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, 4), 8)
    updated, unused = update_atoms(x, atoms, codes)
    after = nonnegative_codes(x, updated, updated @ updated.T, codes.support, 50, codes.values)
    assert after.errors.sum() < codes.errors.sum()
    few = codes.support.dense((codes.values > 0).float()).sum(0) < 3
    assert unused.tolist() == few.nonzero().squeeze(1).tolist()
    torch.testing.assert_close(updated[unused], atoms[unused])
