import numpy as np
import pandas as pd
import pytest

from sdlcore import paired_interval
from sdlstudy.rendering.discovery_table import HEADS, RUN_COLUMNS, discovery_table, discovery_text

SEEDS = range(4)


def runs(references=True):
    rng = np.random.default_rng(0)
    rows = []
    for anchoring, anchors, unanchored in (("none", 0, 90), ("ground_truth", 13, 90), ("discovered_all", 128, 0)):
        for seed in SEEDS:
            row = {"source": "lrb", "method": "topk", "protocol": "best", "anchoring": anchoring, "seed": seed}
            row |= {"anchors": anchors, "near": anchors, "left": unanchored, "l0": 16.0, "dead_fraction": 0.1}
            row |= {f"{name}{end}": rng.random() for name in HEADS for end in ("", "_none")}
            for name in HEADS:
                if name != "fvu" and (unanchored == 0 or not references):
                    row |= {name: np.nan, f"{name}_none": np.nan}
            rows.append(row | ({} if references else {"near": np.nan, "left": np.nan}))
    return pd.DataFrame(rows)[RUN_COLUMNS]


def test_differences_are_to_the_same_run_without_anchors_on_the_same_features_paired_by_seed():
    frame = runs()
    table = discovery_table(frame).set_index("anchoring")
    assert list(table.index) == ["none", "ground_truth", "discovered_all"]
    anchored = frame[frame["anchoring"] == "ground_truth"]
    for name in HEADS:
        row = table.loc["ground_truth"]
        assert row[name] == pytest.approx(anchored[name].mean())
        expected = paired_interval((anchored[name] - anchored[f"{name}_none"]).to_numpy())
        assert [row[f"{name}_{part}"] for part in ("difference", "low", "high")] == pytest.approx(list(expected))
        assert np.isnan(table.loc["none", f"{name}_difference"])
    assert (table["seeds"] == 4).all()


def test_without_unanchored_features_a_row_has_a_loss_and_no_recovery():
    row = discovery_table(runs()).set_index("anchoring").loc["discovered_all"]
    assert np.isnan(row["gt_recovery_decoder"])
    assert not np.isnan(row["fvu_difference"])


def test_the_text_has_differences_in_brackets_and_dashes_for_missing_values():
    table = discovery_table(runs())
    none, anchored, everything = discovery_text(table).markdown().splitlines()[-3:]
    assert "(" not in none
    assert anchored.count("(") == len(HEADS)
    assert everything.count("–") == len(HEADS) - 1
    row = table.iloc[1]
    low, high = row["fvu_low"], row["fvu_high"]
    assert f"{row['fvu']:.4f} ({row['fvu_difference']:.4f}: {low:.4f} to {high:.4f})" in anchored
    # a source without reference directions has only a loss
    alone = discovery_text(discovery_table(runs(references=False)))
    assert alone.markdown().splitlines()[-1].count("–") == len(HEADS) + 1
