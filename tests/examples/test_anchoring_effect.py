"""The experiment on anchors: its plan, its samples, its table and its test."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from examples.anchoring_effect import judge, page, runs
from tests.conftest import REPOSITORY


def test_every_anchored_run_comes_after_its_run_without_anchors() -> None:
    planned = runs.scored_runs()
    assert len(planned) == len(set(planned))
    at = {run: number for number, run in enumerate(planned)}
    for run in planned:
        without = runs.replace(run, anchors="none", number=0, weight=0.0)
        assert at[without] <= at[run]
        if run.start:
            assert at[runs.replace(run, start=0)] < at[run]
    assert not {run.seed for run in planned} & set(runs.PILOT_SEEDS)


def test_features_of_split_samples_are_equally_frequent_and_apart() -> None:
    codes = runs.split_coefficients(30_000, 300, np.random.default_rng(0))
    active = (codes != 0).toarray()
    some = active[:, :100].any(1)
    beside, apart = active[:, 100::2], active[:, 101::2]
    assert not beside[~some].any()
    assert not apart[some].any()
    for part in (active[:, :100], beside, apart):  # a mean over n features has a standard error of .1 / sqrt(30,000 n)
        assert abs(part.mean() - 0.01) < 5 * 0.1 / np.sqrt(30_000 * part.shape[1])


def test_shuffled_anchors_pair_different_features() -> None:
    eye = np.eye(8, dtype=np.float32)
    data = runs.Data(eye, eye, None, None, np.zeros(8))
    inputs, outputs = runs.anchors_of(runs.Run("paper", "transcoder", False, 1, "shuffled", 4), data)
    assert (inputs == eye[:4]).all()
    assert sorted(outputs.argmax(1)) == [0, 1, 2, 3]
    assert not (inputs * outputs).any()


def test_a_table_keeps_rows_of_other_processes(tmp_path: Path) -> None:
    first, second = (runs.Table(tmp_path / "runs.csv", runs.COLUMNS, runs.MEASURES) for _ in range(2))
    for table, seed in ((first, 0), (second, 1)):
        table.add(runs.asdict(runs.Run("paper", "topk", True, 80, seed=seed)) | {"fvu": 0.123456789})
    read = runs.Table(tmp_path / "runs.csv", runs.COLUMNS, runs.MEASURES)
    assert read.keys == {runs.Run("paper", "topk", True, 80, seed=seed).key for seed in (0, 1)}
    assert [row["fvu"] for row in read.rows] == ["0.12346"] * 2


def test_holm_equals_its_definition() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(judge.holm(p), [0.04, np.nan, 0.09, 0.09])


def test_paired_summary_equals_the_t_test() -> None:
    differences = np.array([0.1, 0.3, 0.2, 0.25, 0.05])
    expected = stats.ttest_1samp(differences, 0)
    interval = expected.confidence_interval()
    got = judge.summary(differences)
    np.testing.assert_allclose(
        [got["p"], got["low"], got["high"]], [expected.pvalue, interval.low, interval.high], rtol=1e-9
    )


@pytest.mark.parametrize(
    ("none", "random", "expected"),
    [
        ((0.2, 0.001), (0.1, 0.001), "helps"),
        ((0.2, 0.001), (0.1, 0.2), "any direction helps"),
        ((-0.2, 0.001), (-0.1, 0.001), "harms"),
        ((0.2, 0.3), (0.1, 0.001), "not shown"),
    ],
)
def test_verdicts(none: tuple[float, float], random: tuple[float, float], expected: str) -> None:
    rows = pd.DataFrame(
        [
            {"measure": judge.MAIN, "contrast": contrast, "seeds": 5, "mean": mean, "p_holm": p}
            for contrast, (mean, p) in (("true - none", none), ("true - random", random))
        ]
    )
    assert judge.verdict(rows) == expected
    assert judge.verdict(rows.assign(seeds=4)) == "not complete"


@pytest.mark.parametrize(
    ("prediction", "effect", "expected"),
    [
        ({"expected": "positive", "margin": 0}, (0.1, 0.05, 0.15), "right"),
        ({"expected": "positive", "margin": 0}, (0.1, -0.05, 0.25), "undecided"),
        ({"expected": "positive", "margin": 0}, (-0.1, -0.25, 0.05), "wrong"),
        ({"expected": "within", "margin": 0.03}, (0.0, -0.02, 0.02), "right"),
        ({"expected": "within", "margin": 0.03}, (0.0, -0.05, 0.05), "undecided"),
        ({"expected": "within", "margin": 0.03}, (0.05, 0.01, 0.09), "wrong"),
    ],
)
def test_outcomes(prediction: dict[str, object], effect: tuple[float, float, float], expected: str) -> None:
    mean, low, high = effect
    assert judge.outcome(prediction, {"seeds": 5, "mean": mean, "low": low, "high": high}) == expected


def test_the_page_and_its_tables_follow_from_the_runs() -> None:
    folder = REPOSITORY / "docs/results/anchoring-effect"
    for name, table in judge.tables(folder):
        stored_table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])
        pd.testing.assert_frame_equal(table.round(6), stored_table, check_dtype=False, atol=2e-6)
    assert page.text(page.Tables(folder)) == (folder / "README.md").read_text()


def test_the_page_of_anchors_repeats_the_effects_at_weight_10() -> None:
    tables = page.Tables(REPOSITORY / "docs/results/anchoring-effect")

    def effect(method: str, clip: bool, kind: str) -> pd.Series:
        condition = {"source": "paper", "method": method, "clip": clip, "number": 100, "weight": 10.0}
        return tables.effect(condition, f"{kind} - none")

    def bounds(row: pd.Series) -> str:
        return f"({page.points(row['low'])} to {page.points(row['high'])})"

    relu, topk = effect("relu", False, "true"), effect("topk", False, "true")
    random = {page.points(effect(method, False, "random")["mean"]) for method in ("relu", "topk")}
    clipped = [
        page.points(effect(method, True, kind)["mean"], sign=False)
        for kind in ("random", "true")
        for method in ("relu", "topk")
    ]
    assert random == {"-.6"}
    sentences = (
        f"{page.points(relu['mean'])} points {bounds(relu)} in ReLU",
        f"{page.points(topk['mean'])} {bounds(topk)}",
    )
    assert page.faster(tables, "topk")["low"] > effect("topk", True, "true")["high"]
    assert page.faster(tables, "relu")["low"] > effect("relu", True, "true")["high"]
    denser = {"source": "denser", "method": "relu_paper", "clip": False, "number": 100, "weight": 0.1}
    true, of_random = (tables.effect(denser, f"{kind} - none") for kind in ("true", "random"))
    with_true = f"add {page.points(true['mean'], sign=False)} points"
    with_random = page.points(of_random["mean"], sign=False)
    texts = (
        f"{with_true} {bounds(true)} and random directions {with_random} under protocol `paper`",
        *sentences,
        "Random directions change it by -.6",
        "{} and {} points, and true anchors {} and {}:".format(*clipped),
    )
    words = " ".join((REPOSITORY / "docs/anchors.md").read_text().split())
    for text in texts:
        assert text in words, text
