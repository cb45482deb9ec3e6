"""The factor on the weights of penalties."""

import pytest
import torch

from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.run import RunConfig
from sdlcore.training.penalty import PenaltyFactor
from sdlcore.training.step import TrainingStep
from tests.training.test_loop import METHODS, run

FREQUENCY = {"activation": "jumprelu", "frequency": 0.5, "penalty_warmup": 0.9}


@pytest.mark.parametrize(
    ("settings", "column"),
    [(METHODS["relu_held"], "l1"), (METHODS["annealed"], "l1"), (FREQUENCY, "frequency")],
    ids=["held", "annealed", "warm-up of the frequency penalty"],
)
def test_the_history_shows_the_factor_of_its_step(settings, column):
    _, rows = run({**settings, "steps": 30, "log_every": 1})
    assert len({row["penalty_factor"] for row in rows}) > 20
    for row in rows:
        penalty = row["penalty_factor"] * settings[column] * row[column]
        assert row["loss"] == pytest.approx(row["reconstruction"] + penalty, rel=1e-5)


def test_a_smaller_exponent_leaves_the_penalty_as_large():
    settings = {"activation": "relu", "l1": 0.1, "n_q": 32, "steps": 5, "l1_exponent_end": 0.2, "accumulate": 2}
    settings["lr"] = 1e-30
    config = RunConfig.from_dict({**settings, "batch_size": 40})
    step = TrainingStep(SparseCoder(config.model, (6,), (6,), torch_stream(1, "initialisation")), config)
    x = torch.randn(40, 6, generator=torch_stream(2, "samples"))
    found = []
    for number in range(5):
        terms = step(x, x, number)
        found.append((float(terms["l1"]), float(terms["l1"]) * float(step.penalty.used)))
    assert found[-1][0] != pytest.approx(found[0][0], rel=0.1)
    assert [penalty for _, penalty in found] == pytest.approx([found[0][1]] * 5, rel=1e-5)


@pytest.mark.parametrize(("form", "adjusted"), [("step", True), ("tanh", True), ("quadratic", False)])
def test_a_target_that_the_penalty_itself_has_is_not_held_by_its_weight(form, adjusted):
    config = RunConfig.from_dict({"activation": "jumprelu", "l0": 0.1, "l0_form": form, "target_l0": 8.0})
    factor = PenaltyFactor(config.loss, torch.zeros(()))
    factor.adjust({"l0": torch.tensor(16.0)})
    assert factor.adjusted == adjusted == bool(factor.use(1.0) != 1.0)
