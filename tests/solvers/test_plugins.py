"""Solvers of plugins: their dictionaries are found, encoded and recorded like those of built-in solvers."""

import json
from typing import Annotated

import pytest
import torch
from annotated_types import Ge

import sdlcore as sdl
from sdlcore.model.saving import load_model
from sdlcore.solvers.codes import largest_correlations, nonnegative_codes
from sdlcore.solvers.registry import solver
from sdlcore.solvers.search import fit_of, initial_atoms, read_batch
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import find
from tests.stores import write_store

SETTINGS = {"solver": "samples", "n_atoms": 12, "support": 3, "batch_size": 64}


@pytest.fixture(autouse=True)
def samples(registry):
    @solver("samples")
    def samples(batches, config, generator, start=None, *, taken_from: Annotated[int, Ge(0)] = 0):
        """Yield the samples of a batch, at unit norm."""
        x = read_batch(batches, taken_from)
        atoms = initial_atoms(x, config.n_atoms, generator)
        codes = nonnegative_codes(
            x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, config.support), config.sweeps
        )
        row = {"step": 1, "samples": len(x), **fit_of(codes, x), "support": config.support, "atoms": len(atoms)}
        yield atoms, row | {"replaced": 0, "pruned": 0, "seconds": 0.0}


def test_it_leaves_a_run_with_its_settings(tmp_path):
    x = torch.rand(300, 6, generator=torch.Generator().manual_seed(0)).numpy()
    write_store(tmp_path / "train.h5", x)
    config = SolverConfig.from_dict({**SETTINGS, "taken_from": 2})
    sdl.solve(tmp_path / "train.h5", out=tmp_path / "run", progress=False, **config.to_dict())
    model = load_model(tmp_path / "run/model.safetensors")
    torch.testing.assert_close(model.W_dec.norm(dim=1), torch.ones(12))
    provenance = json.loads((tmp_path / "run/config.json").read_text())
    assert provenance["settings"] == config.to_dict()
    assert provenance["settings"]["taken_from"] == 2


ROW = {"step": 1, "samples": 1, "loss": 0.0, "fvu": 0.0, "l0": 1.0, "support": 1, "seconds": 0.0}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "nothing, expected atoms and a history row"),
        ([(torch.eye(4), {"step": 1})], "a row of the history without samples, loss, "),
        ([(2 * torch.eye(4), ROW)], "atoms that are not float32 rows of norm 1"),
    ],
)
def test_what_is_no_dictionary_is_refused(steps, message):
    @solver("own")
    def custom(batches, config, generator, start):
        batches(0)
        return steps

    config = SolverConfig.from_dict({**SETTINGS, "solver": "own"})
    with pytest.raises(ValueError, match=f"solver own yielded {message}"):
        find(lambda step: torch.ones(2, 4), config, torch.Generator())


def test_a_solver_may_yield_only_the_required_keys_and_one_row_that_it_changes():
    row = ROW.copy()

    @solver("own")
    def custom(batches, config, generator, start):
        for step in range(3):
            row["step"] = step + 1
            yield torch.eye(batches(step).shape[1]).requires_grad_(), row

    sae = sdl.solve(torch.rand(300, 6).numpy(), "own", progress=False)
    assert [row["step"] for row in sae.history] == [1, 2, 3, 4]
    assert list(sae.history[-1]) == list(ROW)
