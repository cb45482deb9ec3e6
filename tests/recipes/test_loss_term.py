"""A new loss term takes two files, its own and its weight among the settings of runs (docs/extending.md)."""

import csv
import json

import pytest

from tests.recipes.recipe import Copy

L2 = '''"""The L2 penalty."""

from torch import Tensor

from sdlcore.model.losses.term import TermInputs, Term
from sdlcore.model.coder import SparseCoder
from sdlcore.model.forward import Forward


def l2(model: SparseCoder, out: Forward) -> Tensor:
    """E sum_i x_q,i^2."""
    return model.processes.latents.sum(out.values.square().sum()) / out.support.n_samples


TERM = Term("l2", lambda inputs: l2(inputs.model, inputs.out), "l2")
'''
WEIGHT = '''    l2: Weight = 0.0
    """Weight of the L2 penalty."""
'''
SETTINGS = {"activation": "relu", "n_q": 8, "steps": 30, "batch_size": 64, "l2": 0.5}


@pytest.mark.slow
def test_a_loss_term_of_two_files_is_trained_with_and_makes_no_run_anew(tmp_path):
    copy = Copy(tmp_path)
    before = copy.runs()
    copy.add("model/losses/l2.py", L2)
    copy.insert("config.py", "    l0: Weight", WEIGHT)
    copy.insert("config.py", '    "l0": "l0",\n', '    "l2": "l2",\n')
    assert len(copy.touched) <= 2
    assert "Weight of the L2 penalty." in copy.schema()
    assert copy.runs() == before
    run = copy.leave_run("train", SETTINGS)
    with (run / "history.csv").open() as file:
        *_, last = csv.DictReader(file)
    weighted = float(last["reconstruction"]) + 0.5 * float(last["l2"])
    assert float(last["loss"]) == pytest.approx(weighted, rel=1e-5)
    assert float(last["l2"]) > 0
    assert json.loads((run / "config.json").read_text())["settings"]["l2"] == 0.5
