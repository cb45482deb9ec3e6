import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.config import Config
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.training.schedules import PenaltyFactor, scheduled
from sdlcore.training.step import TrainingStep
from tests.training.test_loop import METHODS, run

shares = st.floats(0, 1)


def values(name, steps=100, **settings):
    """Return a scheduled value in each step."""
    config = Config.from_dict({"steps": steps, **settings})
    return [getattr(scheduled(config, step), name) for step in range(steps)]


def rates(steps, peak, warmup, decay, shape="linear"):
    return values("lr", steps, lr=peak, lr_warmup=warmup, lr_decay=decay, lr_decay_shape=shape)


def test_it_rises_holds_and_falls():
    lr = rates(100, 1.0, 0.1, 0.2)
    assert lr[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert set(lr[10:80]) == {1.0}
    assert lr[80:] == pytest.approx([1 - 0.05 * i for i in range(20)])


def test_a_cosine_falls_as_torchs():
    weight = torch.nn.Parameter(torch.zeros(()))
    optimiser = torch.optim.SGD([weight], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=80)
    expected = [0.3] * 20
    for _ in range(80):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates(100, 0.3, 0.0, 0.8, "cosine") == pytest.approx(expected)


def anchoring(steps, until, falling):
    return values("anchoring", steps, lambda_anchor=0.1, anchor_until=until, anchor_fall=falling)


def test_anchors_stay_fall_or_are_released():
    constant, fallen, released, both = (
        anchoring(100, *when) for when in ((None, 0.0), (None, 1.0), (0.5, 0.0), (0.5, 0.25))
    )
    assert set(constant) == {1.0}
    assert fallen == pytest.approx([1 - 0.01 * i for i in range(100)])
    assert released == [1.0] * 50 + [0.0] * 50
    assert both[:26] == [1.0] * 26
    assert both[25:50] == pytest.approx([1 - 0.04 * i for i in range(25)])
    assert set(both[50:]) == {0.0}


@given(steps=st.integers(2, 300), k=st.integers(1, 50), start=st.integers(1, 50), share=shares)
def test_k_goes_from_its_start_to_its_end_and_stays(steps, k, start, share):
    ks = values("k", steps, activation="topk", k=k, k_start=start, k_decay=share)
    assert ks == sorted(ks, reverse=start > k)
    assert set(ks[math.ceil(share * steps) :]) <= {k}
    assert ks[0] == (start if share else k)


def test_dead_latents_are_resampled_in_the_first_part_of_the_training():
    due = values("resample", activation="topk", k=4, resample_every=20, resample_until=0.4)
    assert [step for step, resample in enumerate(due) if resample] == [19, 39]
    assert not any(values("resample", activation="relu"))


def test_rows_and_sorted_latents_come_at_regular_steps_and_the_last_step_has_a_row():
    prefixes = {"n_q": 8, "prefixes": [4, 8], "reorder_every": 4, "log_every": 4}
    rows = values("row", 10, activation="topk", k=2, **prefixes)
    assert [step for step, row in enumerate(rows) if row] == [3, 7, 9]
    reorders = values("reorder", 10, activation="topk", k=2, **prefixes)
    assert [step for step, reorder in enumerate(reorders) if reorder] == [3, 7]


def test_penalties_warm_up_and_their_exponent_falls():
    assert values("penalty", 10, l1=0.1, penalty_warmup=0.5) == pytest.approx([0.2, 0.4, 0.6, 0.8, *[1.0] * 6])
    exponents = values("exponent", 10, l1=0.1, l1_exponent_end=0.2, l1_anneal_start=0.5)
    assert exponents == pytest.approx([1.0] * 6 + [0.84, 0.68, 0.52, 0.36])


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
    config = Config.from_dict({**settings, "batch_size": 40})
    step = TrainingStep(SparseCoder.from_config(config.model, (6,), (6,), torch_stream(1, "initialisation")), config)
    x = torch.randn(40, 6, generator=torch_stream(2, "samples"))
    penalties = []
    for number in range(5):
        terms = step(x, x, number)
        penalties.append((float(terms["l1"]), float(terms["l1"]) * float(step.penalty.used)))
    assert penalties[-1][0] != pytest.approx(penalties[0][0], rel=0.1)
    assert [penalty for _, penalty in penalties] == pytest.approx([penalties[0][1]] * 5, rel=1e-5)


@pytest.mark.parametrize(("form", "adjusted"), [("step", True), ("tanh", True), ("quadratic", False)])
def test_a_target_inside_the_penalty_does_not_adjust_its_weight(form, adjusted):
    config = Config.from_dict({"activation": "jumprelu", "l0": 0.1, "l0_form": form, "target_l0": 8.0})
    factor = PenaltyFactor(config, torch.zeros(()))
    factor.adjust({"l0": torch.tensor(16.0)})
    assert factor.adjusted == adjusted == bool(factor.use(1.0) != 1.0)
