"""Advice on methods from short trainings."""

import shlex
from dataclasses import replace

import numpy as np
import pytest

import sdlcore as sdl
from sdlcore.commands.main import main
from sdlcore.errors import DivergedError
from sdlcore.pilots import METHODS, Pilots

FEW = ("topk", "batchtopk", "relu")


@pytest.fixture(scope="module")
def bench():
    return sdl.Bench.draw(n=24, n_p=16, sparsity=0.9, max_interference=0.4, seed=3)


@pytest.fixture(scope="module")
def samples(bench):
    return bench.samples(3000).input


def advised(x, **changes):
    given = {"minutes": 0.01, "l0": 3, "n_q": 48, "methods": FEW, "steps": 60, "batch_size": 128, "progress": False}
    return sdl.suggest(x, **given | changes)


@pytest.fixture(scope="module")
def advice(samples):
    return advised(samples)


def test_the_best_method_has_the_smallest_held_out_error_near_the_l0(advice):
    near = [row for row in advice.rows if not row["null"] and row["l0"] <= 3.3]
    lr = min(near, key=lambda row: row["fvu"])["lr"]
    assert advice.settings["lr"] == lr or f"lr is {advice.settings['lr']:g}, not {lr:g}" in advice.sentence
    assert advice.settings["activation"] in FEW
    assert advice.sentence.startswith(f"After {advice.rows[0]['steps']} steps, ")


def test_a_rate_whose_error_falls_faster_is_advised_for_long_trainings():
    trial = Pilots(*np.zeros((2, 1, 4), np.float32), 1, 0, False)
    for lr, steps, fvu in ((0.01, 10, 0.2), (0.003, 10, 0.3), (0.01, 20, 0.19), (0.003, 20, 0.195)):
        trial.done["topk", lr, 48, 3, steps, 0, steps == 20] = {"fvu": fvu}
    fvus = trial.extrapolated({"method": "topk", "lr": 0.01}, (48, 3), 10, 20, 60)
    assert fvus == pytest.approx({0.01: 0.19 * 0.95 ** np.log2(3), 0.003: 0.195 * 0.65 ** np.log2(3)})


def test_a_pilot_that_diverges_comes_last(samples, monkeypatch):
    def diverging(x, lr, steps, **settings):
        if lr == 1e-2 and steps > 10:
            raise DivergedError
        return sdl.fit(x, lr=lr, steps=steps, **settings)

    monkeypatch.setattr("sdlcore.pilots.fit", diverging)
    advice = advised(samples, methods=["topk"])
    assert [pilot["fvu"] for pilot in advice.pilots if pilot["lr"] == 1e-2] == [np.inf]
    assert advice.settings["lr"] < 1e-2


def test_each_row_averages_three_seeds_and_baselines_follow(advice):
    for row in advice.rows:
        if row["null"]:
            continue
        same = {key: row[key] for key in ("method", "lr", "steps")}
        seeds = {pilot["seed"]: pilot["fvu"] for pilot in advice.pilots if same.items() <= pilot.items()}
        assert np.isclose(row["fvu"], np.mean(list(seeds.values())))
        assert len(seeds) == 3
        assert row["low"] < row["fvu"] < row["high"]
        assert row["omp"] < row["fvu"]
    assert [row["method"] for row in advice.rows if row["null"]] == ["random samples", "principal components"]


def test_more_principal_components_leave_less(samples):
    rows = [
        row for row in advised(samples, l0=[2, 8], methods=["topk"]).rows if row["method"] == "principal components"
    ]
    assert 0 < rows[1]["fvu"] < rows[0]["fvu"] < 1


def test_the_call_trains_the_advised_dictionary(advice, samples):
    found = eval(advice.call, {"sdl": sdl, "x": samples})
    assert found.settings["activation"] == advice.settings["activation"]
    assert found.n_q == 48


@pytest.mark.parametrize("name", METHODS)
def test_the_command_trains_each_method_with_its_settings(name, advice, samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", samples)
    target = {"target_l0": 3, "init_l0": 3} if "l0_gain" in METHODS[name] else {"k": 3}
    settings = METHODS[name] | target | {"n_q": 48, "lr": 0.003, "steps": 1, "batch_size": 128}
    if "prefixes" in settings:
        settings["prefixes"] = [3, 12, 48]
    main(shlex.split(replace(advice, settings=settings).command)[1:])
    assert settings.items() <= sdl.load("run").settings.items()


def test_advice_prints_and_draws(advice):
    text = repr(advice)
    assert f"import sdlcore as sdl\n{advice.call}\n\n{advice.command}\n" in text
    assert "random samples" in text
    labels = [label.get_text() for label in advice.plot().get_legend().get_texts()]
    assert {"topk, 48", "random samples, 48", "principal components, 16"} <= set(labels)


def test_cost_is_proportional_to_the_samples(advice):
    one, ten = advice.cost(1e6), advice.cost(1e7)
    assert ten["hours"] == pytest.approx(10 * one["hours"])
    assert ten["disk_gb"] == pytest.approx(1e7 * 16 * 2 / 1e9)
    assert ten["memory_gb"] == one["memory_gb"] == 2 * 16 * 48 * 4 * 4 / 1e9


def test_several_l0s_and_widths_give_a_front(samples):
    advice = advised(samples, l0=[2, 4], n_q=[24, 48], methods=["topk"])
    rows = {(row["n_q"], row["l0"]): row["fvu"] for row in advice.rows if not row["null"]}
    assert list(rows) == [(24, 2), (24, 4), (48, 2), (48, 4)]
    assert rows[24, 2] > rows[24, 4]
    nulls = [row["n_q"] for row in advice.rows if row["method"] == "random samples"]
    assert nulls == [24, 24, 48, 48]
    assert (advice.settings["n_q"], advice.settings["k"]) == (24, 2)


def test_batches_give_their_first_samples(samples):
    batches = [samples[start : start + 100] for start in range(0, 2000, 100)]
    assert len(advised(lambda step: batches[step % 20], methods=["topk"]).rows) == 3


def test_a_bad_call_names_the_argument(samples, tmp_path):
    for methods, found in ((["topk", "top"], "there is no top"), ([], "none is given")):
        with pytest.raises(ValueError, match=f"methods: {found}; expected some of topk, batchtopk"):
            advised(samples, methods=methods)
    (tmp_path / "pilots.csv").touch()
    with pytest.raises(ValueError, match=r"already contains advice .*; choose another folder, or delete it"):
        advised(samples, methods=["topk"], out=tmp_path)
    with pytest.raises(FileExistsError, match="test_suggest"):
        advised(samples, methods=["topk"], out=__file__)
    with pytest.raises(ValueError, match="x contains 50 samples, expected at least 100"):
        advised(np.ones((50, 4), np.float32))
