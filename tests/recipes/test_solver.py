"""A new solver takes two files, its own and its name among the settings of solvers (docs/extending.md)."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.recipes.recipe import Copy

SAMPLES = '''"""Samples: the atoms are directions of random samples, the baseline of all solvers."""

from collections.abc import Iterator

import torch
from torch import Tensor

from sdlcore.solvers.codes import largest_correlations, nonnegative_codes
from sdlcore.solvers.search import Batches, Row, fit_of, initial_atoms, read_batch
from sdlcore.solvers.settings import SolverConfig


def samples(
    batches: Batches, config: SolverConfig, generator: torch.Generator, start: Tensor | None = None
) -> Iterator[tuple[Tensor, Row]]:
    """Yield samples of the first batch, at unit norm."""
    x = read_batch(batches, config.taken_from)
    atoms = initial_atoms(x, config.n_atoms, generator)
    codes = nonnegative_codes(x, atoms, atoms @ atoms.T, largest_correlations(x, atoms, config.support), config.sweeps)
    row = {"step": 1, "samples": len(x), **fit_of(codes, x), "support": config.support, "atoms": len(atoms)}
    yield atoms, row | {"replaced": 0, "pruned": 0, "seconds": 0.0}


SOLVER = samples
'''
SETTING = '''    taken_from: Annotated[int, Ge(0)] = 0
    """The batch that samples are taken from."""
'''


@pytest.mark.slow
def test_a_solver_of_two_files_leaves_a_run_and_makes_none_anew(tmp_path):
    copy = Copy(tmp_path)
    before = copy.runs()
    copy.add("solvers/samples.py", SAMPLES)
    copy.insert(
        "solvers/settings.py", ']\n"""The built-in solvers; each is a module in `sdlcore.solvers`."""', ', "samples"'
    )
    copy.insert("solvers/settings.py", "    tolerance: ", SETTING)
    assert len(copy.touched) <= 2
    assert "The batch that samples are taken from." in copy.schema()
    assert copy.runs() == before
    settings = {"solver": "samples", "n_atoms": 20, "support": 4, "batch_size": 64, "taken_from": 2}
    run = copy.leave_run("train", settings)
    atoms = load_file(run / "model.safetensors")["W_dec"]
    assert atoms.shape == (20, 6)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-5)
    assert json.loads((run / "metrics.json").read_text())["metrics"]["fvu"] < 1
