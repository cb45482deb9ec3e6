"""Loss terms of plugins: enabled by their weight, with settings of their own."""

import re
import warnings
from typing import Annotated

import pytest
import torch
from annotated_types import Gt

from sdlcore.config import Config
from sdlcore.fitting.checks import warn_of_penalties
from sdlcore.model.coder import SparseCoder
from sdlcore.model.losses.term import TermInputs, loss_term
from sdlcore.model.losses.total import needs_norms, total_loss
from sdlcore.training.schedules import rise

SETTINGS = {"activation": "relu", "n_q": 8}


@pytest.fixture(autouse=True)
def power(registry):
    @loss_term("power", is_penalty=True, norms=True)
    def power(inputs: TermInputs, *, exponent: Annotated[float, Gt(0)] = 2.0) -> torch.Tensor:
        """E sum_i x_q,i^p."""
        assert inputs.out.norms is not None
        return (inputs.out.values**exponent).sum() / inputs.out.support.n_samples


def test_a_loss_term_is_weighted_and_reported_by_its_name():
    config = Config.from_dict({**SETTINGS, "power": 0.5, "exponent": 3})
    assert config.terms == ("power",)
    more = {"power": 0.5, "exponent": 3}
    assert config.non_defaults() == {**Config.from_dict(SETTINGS).non_defaults(), **more}
    assert Config.from_dict(config.to_dict()) == config
    assert needs_norms(config)
    model = SparseCoder.from_config(config.model, (5,), (5,), torch.Generator().manual_seed(0))
    x = torch.randn(7, 5)
    out = model(x, norms=True)
    terms = total_loss(TermInputs(model, x, out, config), penalty=rise(0, 10, 0.0))
    expected = (model.encode(x) ** 3).sum() / 7
    torch.testing.assert_close(terms["power"], expected)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 0.5 * expected)
    terms["loss"].backward()
    assert model.W_enc.grad is not None


def run(**settings):
    return Config.from_dict({**SETTINGS, **settings})


def unused(**settings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = Config.from_dict({"n_q": 8, **settings})
        warn_of_penalties(config)
    return "; ".join(str(one.message) for one in caught)


def test_a_penalty_is_what_declares_to_be_one():
    @loss_term("spread")
    def spread(inputs: TermInputs) -> torch.Tensor:
        return inputs.out.values.var()

    assert unused(activation="relu", power=0.1) == ""
    assert re.search(
        "relu without a penalty .*; if spread is one, .* is_penalty=True", unused(activation="relu", spread=0.1)
    )
    assert "relu without a penalty" in unused(activation="relu", power=0)
    assert run(power=0.1, target_l0=3).loss.target_l0 == 3
    with pytest.raises(ValueError, match=r"target_l0 needs l1, l0 or a plugin's penalty \(is_penalty=True\)"):
        run(spread=0.1, target_l0=3)


@pytest.mark.parametrize("value", [0.5, None, torch.ones(1)])
def test_it_is_a_tensor_without_dimensions(value):
    loss_term("given_term")(lambda computed: value)
    config = Config.from_dict({**SETTINGS, "given_term": 1})
    model = SparseCoder.from_config(config.model, (5,), (5,), torch.Generator().manual_seed(0))
    x = torch.randn(7, 5)
    with pytest.raises(ValueError, match=r"loss term given_term returned .*, expected a tensor of shape \(\)"):
        total_loss(TermInputs(model, x, model(x), config))
