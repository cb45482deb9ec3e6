"""A new activation takes two files, its own and its name among the settings of runs (docs/extending.md)."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.recipes.recipe import Copy

CUT = '''"""Cut: the latents are the pre-activations above a threshold that is given."""

import torch
from torch import Tensor

from sdlcore.model.activation import Activation
from sdlcore.sparse.search import Above, Search
from sdlcore.sparse.support import Support


class Cut(Activation):
    """z H(z - c)."""

    def __init__(self, cut: float) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, pre: Tensor) -> Tensor:
        return torch.where(pre > self.cut, pre, 0.0)

    def search(self) -> Search:
        return Above(self.cut)

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return torch.where(pre > self.cut, pre, 0.0)


ACTIVATION = Cut
'''
SETTING = '''    cut: Weight = 0.2
    """Threshold of cut."""
'''


@pytest.mark.slow
def test_an_activation_of_two_files_is_trained_and_evaluated_and_makes_no_run_anew(tmp_path):
    copy = Copy(tmp_path)
    before = copy.runs()
    copy.add("model/activations/cut.py", CUT)
    copy.insert("config.py", ']\n"""Each is a module in `sdlcore.model.activations`."""', ', "cut"')
    copy.insert("config.py", '    decoder_norm: Literal["free", "unit"]', SETTING)
    assert len(copy.touched) <= 2
    assert "cut: {default: 0.2, description: Threshold of cut." in copy.schema()
    assert copy.runs() == before
    copy.run("-c", "import sdlcore as sdl; sdl.check_method('cut', cut=0.4)")
    run = copy.leave_run("train", {"activation": "cut", "cut": 0.4, "n_q": 8, "steps": 30, "batch_size": 64})
    model = load_file(run / "model.safetensors")
    test = json.loads((run / "metrics.json").read_text())["metrics"]
    assert model["W_enc"].shape == (8, 6)
    assert np.isfinite(test["fvu"])
    # features of magnitude above 0.4, of six that are active three times in ten
    assert 0.6 < test["oracle_l0"] < 1.4
