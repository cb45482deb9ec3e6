"""OrtSAE as a plugin has the numbers of the built-in term."""

from importlib import import_module

import pytest
import torch

from sdlcore.config import Config
from sdlcore.model.coder import SparseCoder
from sdlcore.model.losses.orthogonality import drawn_chunks, orthogonality
from sdlcore.model.losses.term import TermInputs
from sdlcore.model.losses.total import total_loss
from tests.conftest import REPOSITORY

CHUNK = 7


@pytest.fixture
def plugin(registry, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "examples/ortsae")
    monkeypatch.delitem(__import__("sys").modules, "ortsae", raising=False)
    import_module("ortsae")


def terms(step, **weights):
    config = Config.from_dict({"activation": "topk", "k": 2, "n_q": 23, **weights})
    model = SparseCoder.from_config(config.model, (6,), (6,), torch.Generator().manual_seed(0))
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    losses = total_loss(TermInputs(model, x, model(x), config, step=step))
    losses["loss"].backward()
    return losses, model.W_dec.grad


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("step", [0, 3])
def test_the_plugin_has_the_numbers_of_the_built_in_term(step):
    ours, gradient = terms(step, orthogonality=0.5, orthogonality_chunk=CHUNK)
    theirs, expected = terms(step, ortsae=0.5, ortsae_chunk=CHUNK)
    assert ours["orthogonality"] > 0.1
    torch.testing.assert_close(ours["orthogonality"], theirs["ortsae"])
    torch.testing.assert_close(ours["loss"], theirs["loss"])
    torch.testing.assert_close(gradient, expected)


def test_chunks_are_a_partition_that_changes_from_step_to_step():
    first, second = (torch.cat(drawn_chunks(23, CHUNK, step)) for step in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(23))
    assert first.tolist() != second.tolist()


def test_orthogonal_and_single_columns_cost_nothing():
    assert orthogonality(torch.eye(6), 3) == 0
    assert orthogonality(torch.ones(3, 2), 1) == 0
    assert orthogonality(torch.ones(3, 2), 3) == pytest.approx(1.0)
