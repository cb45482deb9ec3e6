"""Table 1 at a glance, made from the table on disk."""

import pandas as pd
import pytest

from sdlstudy.products.overview import Overview, overview_rows
from sdlstudy.results.tables import chance_metrics, no_paper, read_csv, table_columns
from tests.conftest import REPOSITORY
from tests.sdlstudy.products import studies

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
                row |= {"gt_recovery_decoder_mean": 0.5 if anchoring == "none" else 1.0}
                row |= {"paper_gt_recovery": 0.849} if method == "topk" else {}
                rows.append(row)
    return pd.DataFrame(rows)


def with_nulls():
    """Table 1 with two null baselines, which have the names of methods here."""
    plain = {"anchoring": "none", "protocol": "best"}
    weak = plain | {"method": "weak", "gt_recovery_decoder_mean": 0.25, "gt_recovery_encoder_mean": 0.0}
    strong = plain | {"method": "strong", "gt_recovery_decoder_mean": 0.0, "gt_recovery_encoder_mean": 0.5}
    return pd.concat([table1(), pd.DataFrame([weak, strong])], ignore_index=True)


def test_it_has_the_paper_the_nearest_protocol_each_side_and_protocol_and_chance(tmp_path):
    config = studies.alone({"tables": {"table1": TABLE1}})
    table = tmp_path / config.files().table("table1")
    table.parent.mkdir(parents=True)
    table1().to_csv(table, index=False)
    rows = studies.pictured(tmp_path, studies.make(config, "overview", tmp_path), "overview", width=1200)
    assert rows["method"].tolist() == ["topk"] * 7 + ["relu"] * 7
    recoveries = rows[rows["method"] == "topk"].fillna({"protocol": ""}).set_index(["what", "protocol"])
    assert recoveries.loc[("the paper", ""), "recovery"] == 0.849
    nearest = read_csv(REPOSITORY / "resources/paper/nearest_protocol.csv").set_index(["method", "anchoring"])
    percent = nearest.loc[("TopK SAE", "none"), "gt_recovery_percent"]
    assert recoveries.loc[("nearest protocol", ""), "recovery"] == pytest.approx(percent / 100)
    for protocol in ("best", "paper"):
        assert recoveries.loc[("decoder", protocol), "recovery"] == 0.5, "without anchors"
        assert recoveries.loc[("encoder", protocol), "recovery"] == 0
    assert recoveries.loc[("chance", ""), "recovery"] == 0.15


def test_the_strongest_null_baseline_is_named():
    rows = overview_rows(with_nulls(), no_paper(), METHODS, ["weak", "strong"])
    null = rows[rows["what"] == "null baseline"]
    assert null[["method", "recovery"]].values.tolist() == [["strong", 0.5]]
    labels = [
        text.get_text() for text in Overview(table="table1", methods=METHODS).draw(rows, None).legends[0].get_texts()
    ]
    assert labels[-1] == "strongest null: strong"
    assert "null baseline" not in overview_rows(table1(), no_paper(), METHODS)["what"].tolist()


@pytest.mark.parametrize("changes", [{"anchorings": ["ground_truth"]}, {"source": "fashion_clip"}])
def test_a_table_that_has_none_of_it_has_no_overview(changes):
    assert "overview" not in studies.alone({"tables": {"table1": TABLE1 | changes}}).products()
