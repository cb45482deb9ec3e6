"""The map of the effects of anchoring."""

import numpy as np
import pandas as pd
import pytest

from sdlstudy.rendering.anchoring_map import finding, map_table, map_text, verdict
from sdlstudy.results.tables import read_csv
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("with_", "without", "expected"),
    [
        ([3, 4, 5], [1, 1, 1], "helps"),
        ([1, 1, 1], [3, 4, 5], "harms"),
        ([1, 2, 9], [3, 4, 5], "cannot tell"),
        ([2, 2, 2], [2, 2, 2], "cannot tell"),
        ([0, 0, 0], [0, 0, 0], "no power"),
        ([100, 100, 100], [100, 100, 100], "no power"),
        ([100, 100, 100], [100, 100, 99], "cannot tell"),
        ([0, 0, 0], [100, 100, 100], "harms"),
    ],
)
def test_a_verdict_is_that_of_the_interval_unless_no_difference_could_show(with_, without, expected):
    assert verdict(np.array(with_, float), np.array(without, float)) == expected
    other = {"helps": "harms", "harms": "helps"}.get(expected, expected)
    assert verdict(np.array(with_, float), np.array(without, float), better=-1) == other


def runs(anchoring, recovery, anchored_recovery=1.0, absorption=None):
    """Rows of five seeds; without anchors, half of the features are recovered and all pairs absorbed."""
    row = {"source": "lrb", "method": "topk", "anchoring": anchoring, "judged": 90, "given": 10}
    both = {
        "recovery_none": 0.5,
        "given_recovered": anchored_recovery,
        "given_recovered_none": 0.5,
        "absorption_none": 1.0,
    }
    return [
        {
            **row,
            **both,
            "seed": seed,
            "recovery": 0.5 + value,
            "absorption": np.nan if absorption is None else absorption,
        }
        for seed, value in enumerate(recovery)
    ]


def test_a_cell_is_what_its_runs_differ_by_in_points():
    table = map_table(pd.DataFrame(runs("cosine", [0.1, 0.1, 0.1, 0.1, 0.1], absorption=0.25)))
    recovery, absorption = table.to_dict("records")
    assert (recovery["measure"], recovery["verdict"], recovery["seeds"]) == ("recovery", "helps", 5)
    assert [recovery[name] for name in ("none", "difference", "low", "given_recovered")] == pytest.approx(
        [50, 10, 10, 100]
    )
    # less absorption is better
    assert (absorption["measure"], absorption["verdict"]) == ("absorption", "helps")
    assert absorption["difference"] == pytest.approx(-75)


def test_a_seed_without_a_value_leaves_nothing_to_be_sure_of():
    rows = runs("still", [0.0] * 5, absorption=1.0)
    rows[2]["absorption"] = np.nan
    table = map_table(pd.DataFrame(rows))
    assert list(table["verdict"]) == ["cannot tell", "cannot tell"]
    assert finding(table).startswith("None of 1 anchorings keeps every interval")


def test_an_anchoring_does_no_harm_if_no_interval_reaches_half_a_point_below():
    harmless, wide = [0.0] * 5, [0.02, -0.02, 0.01, -0.01, 0.0]
    table = map_table(
        pd.DataFrame([*runs("still", harmless), *runs("wide", wide), *runs("lost", harmless, anchored_recovery=0.9)])
    )
    assert finding(table).startswith("still of 3 anchorings keeps every interval above -0.5 points")
    text = map_text(table)
    assert list(text.frame["anchoring"]) == ["still", "wide", "lost"]
    assert list(text.frame["cannot tell"]) == ["1", "1", "1"]
    wide = finding(table[table["anchoring"] == "wide"])
    assert wide.startswith("None of 1 anchorings keeps every interval")
    assert "Not shown to harm anywhere, though it may: wide (lowest end -2.0)" in wide


def test_the_stored_map_says_how_many_harms_share_their_baselines():
    text = map_text(read_csv(REPOSITORY / "resources/kept/anchoring_map.csv")).markdown()
    assert "of 16 such groups, 10 contain a cell that helps and 7 a cell that harms." in text
