"""The tables of the first author's page: numbers that protocols reproduce, and the effect of anchors by weight."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from examples.first_author import dose, held_out, judge
from tests.conftest import REPOSITORY


def looks(l0_of_paper: float) -> pd.DataFrame:
    """Return two looks at each method: one that is wrong in everything, then one with the numbers of Table 1."""
    rows = []
    columns = [
        name for reading in judge.READINGS.values() for name in (f"{reading[0]}_{reading[1]:g}", f"{reading[0]}_mip")
    ]
    for method, paper in judge.paper().iterrows():
        for step, right in ((50, False), (100, True)):
            row = {"method": method, "number": 7, "step": step, "epoch": step / 100, "anchored": False}
            for name in columns:
                row[name] = (paper.mip if name.endswith("mip") else paper.recovery) if right else 0.5
            rows.append(row | {"l0_0": l0_of_paper * paper.l0 if right else 1.0})
    return pd.DataFrame(rows)


def test_a_run_with_the_papers_numbers_reproduces_all_at_its_step() -> None:
    rows = looks(1.0).rename(columns={"l0_0": "l0"}).assign(candidate="same")
    table = judge.reproduced(rows[rows.method != "jumprelu"]).set_index("reading")
    best = table.loc["decoder, cosines, .95"]
    assert (best.step, best.distance, best.reproduced, best.of) == (100, 0, 12, 12)


def test_random_protocols_are_counted_at_their_best_step_with_the_scales_l0(tmp_path: Path) -> None:
    for stage, (methods, factor) in judge.SEARCHED.items():
        rows = looks(1 / factor)
        rows[rows.method.isin(methods)].to_csv(tmp_path / f"explain_{stage}.csv", index=False)
    table = judge.random_protocols(tmp_path)
    assert (table.reproduced == table.of).all()
    assert (table.protocols == 1).all()
    assert set(table.reading) == {*judge.READINGS, "any"}


def test_the_dose_is_the_paired_difference_at_each_weight() -> None:
    same = {"source": "plain", "method": "topk", "given_recovered": 1.0, "fvu": 0.2, "fvu_none": 0.1}
    rows = [
        same | {"seed": seed, "lambda_anchor": weight, "recovery": base + gain + noise, "recovery_none": base}
        for seed, (base, noise) in enumerate([(0.3, -0.01), (0.5, 0.0), (0.7, 0.01)])
        for weight, gain in ((1.0, 0.1), (0.001, 0.0))
    ]
    table = dose.dose(pd.DataFrame(rows))
    assert table.lambda_anchor.to_list() == [0.001, 1.0]
    np.testing.assert_allclose(table.recovery, [0.0, 0.1], atol=1e-12)
    np.testing.assert_allclose(table.recovery_none, 0.5)
    # t(2, .975) = 4.303 standard errors, and the standard deviation of the differences is .01
    assert table.recovery_high[1] - table.recovery[1] == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3)


EXPLAIN = REPOSITORY / "docs/results/explain"


def test_a_constant_guess_reproduces_as_many_rows_as_one_number_can() -> None:
    rows = pd.DataFrame({"recovery": [0.849, 0.84, 0.0], "mip": [0.98, 0.2, 0.19], "l0": [50.0, 54.0, 2000.0]})
    means = held_out.constant(rows)
    assert 0.829 <= means.recovery <= 0.86
    assert 0.18 <= means.mip <= 0.21
    assert 51.3 <= means.l0 <= 52.5


def test_protocols_of_the_search_are_read_at_their_fixed_step_and_reading() -> None:
    a, b = (held_out.searched(EXPLAIN, name) for name in "AB")
    topk = ("table1", 0.0, "topk", "none")
    assert a.loc[topk, "recovery"] == pytest.approx(0.8404)  # the former kept file of protocol A
    assert a.loc[topk, "l0"] == pytest.approx(51.114)
    assert b.loc[topk, "recovery"] == pytest.approx(0.864, abs=1e-3)
    assert b.loc[("table7", 32.0, "topk", "none"), "recovery"] == pytest.approx(0.994)
    assert "table4" in a.index.get_level_values("table")
    assert "table4" not in b.index.get_level_values("table")


def test_held_out_numbers_are_counted_beside_the_baselines_and_no_fitted_row_is_among_them() -> None:
    numbers = held_out.compared(EXPLAIN)
    fitted = numbers[(numbers.table == "table1") & (numbers.anchoring == "none")]
    assert set(fitted.method) <= {"batchtopk", "jumprelu", "matryoshka"}
    exact = numbers.assign(recipe=numbers.paper, constant=numbers.paper + 1)
    exact.loc[exact.number == "l0", "constant"] *= 1.1
    table = held_out.counts(exact)
    assert (table.recipe == table.of).all()
    assert (table.constant == 0).all()
    assert table.of.sum() == len(numbers)


def test_a_training_counts_once_and_another_k_belongs_to_table_7() -> None:
    rows = held_out.recipe(EXPLAIN / "first_author")
    assert not rows.duplicated([*held_out.KEYS, "seed"]).any()
    topk = rows[(rows.method == "topk") & (rows.anchoring == "none")]
    assert topk.seed[topk.table == "table1"].to_list() == [0, 1, 2]
    k32 = topk[(topk.table == "table7") & (topk.value == 32)]
    assert k32.recovery.to_list() == [0.918]  # of the run to step 2,350, and no line between looks of the longer run


def test_the_committed_tables_are_those_of_the_committed_runs() -> None:
    numbers = held_out.compared(EXPLAIN)
    stored = pd.read_csv(EXPLAIN / "first_author/held_out.csv")
    pd.testing.assert_frame_equal(numbers.round(4), stored, check_exact=False, atol=1e-9)
    nearest = pd.read_csv(REPOSITORY / "resources/paper/nearest_protocol.csv")
    pd.testing.assert_frame_equal(held_out.nearest(EXPLAIN), nearest, check_exact=False, atol=1e-9)
    assert nearest.set_index(["method", "anchoring"]).gt_recovery_percent[("TopK SAE", "none")] == pytest.approx(
        84.5, abs=1
    )
