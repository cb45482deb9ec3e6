"""Table 1 at a glance, made from the table on disk."""

import pandas as pd
import pytest

from sdlcore.study.results.tables import chance_metrics, table_columns
from tests.study.products import made

METHODS = ["topk", "relu"]
TABLE1 = {"source": "lrb", "methods": METHODS, "anchorings": ["none", "ground_truth"], "protocols": ["best", "paper"]}


def table1():
    rows = []
    for method in METHODS:
        for anchoring in ("none", "ground_truth"):
            for protocol in ("best", "paper"):
                row = dict.fromkeys(table_columns(), 0.0) | {
                    "method": method,
                    "anchoring": anchoring,
                    "protocol": protocol,
                }
                row |= {f"chance_{name}_mean": 0.15 for name in chance_metrics()}
                row |= {"gt_recovery_decoder_tau95_mean": 0.5 if anchoring == "none" else 1.0, "mip_decoder_mean": 0.75}
                row |= {"paper_gt_recovery": 0.849, "paper_mip": 0.983} if method == "topk" else {}
                rows.append(row)
    return pd.DataFrame(rows)


def test_it_has_the_paper_each_side_and_protocol_and_chance(tmp_path):
    config = made.alone({"tables": {"table1": TABLE1}})
    table = tmp_path / config.files().table("table1")
    table.parent.mkdir(parents=True)
    table1().to_csv(table, index=False)
    rows = made.pictured(tmp_path, made.make(config, "overview", tmp_path), "overview", width=1200)
    assert rows["method"].tolist() == ["topk"] * 6 + ["relu"] * 6
    own = rows[rows["method"] == "topk"].fillna({"protocol": ""}).set_index(["what", "protocol"])
    assert own.loc[("the paper", ""), ["recovery", "mip"]].tolist() == [0.849, 0.983]
    for protocol in ("best", "paper"):
        assert own.loc[("decoder", protocol), ["recovery", "mip"]].tolist() == [0.5, 0.75], "without anchors"
        assert own.loc[("encoder", protocol), ["recovery", "mip"]].tolist() == [0, 0]
    assert own.loc[("chance", ""), ["recovery", "mip"]].tolist() == [0.15, 0.15]


@pytest.mark.parametrize("changes", [{"anchorings": ["ground_truth"]}, {"source": "fashion_clip"}])
def test_a_table_that_has_none_of_it_has_no_overview(changes):
    assert "overview" not in made.alone({"tables": {"table1": TABLE1 | changes}}).products()
