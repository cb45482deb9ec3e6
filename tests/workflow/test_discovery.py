"""`snakemake anchoring_map`: discovered anchors, compared with given ones and with none."""

import csv
import json

import pytest

from sdlcore.data.anchors import load_anchors

RUNS = {"lrb": {"methods": ["topk"]}, "fashion_clip": None}
ASKED = {"seeds": [0], "anchorings": ["ground_truth", "discovered"], "runs": RUNS}
CHANGE = {"anchoring_map": ASKED}


@pytest.mark.slow
def test_anchors_are_discovered_from_the_store_alone_and_compared(checkout):
    plan = checkout.plan("anchoring_map", change=CHANGE)
    assert plan.rules() >= {"discover_anchors", "train", "evaluate", "make_anchoring_map", "anchoring_map"}
    assert not plan.rules() & {"make_table1", "report"}
    assert len(plan.of("train")) == 3
    checkout.snakemake("anchoring_map", change=CHANGE)
    assert checkout.plan("anchoring_map", change=CHANGE).jobs == []
    results = checkout.path / "results/tiny"
    anchors = load_anchors(results / "anchors/lrb/discovered/seed0.safetensors")
    summary = json.loads((results / "anchors/lrb/discovered/seed0.json").read_text())
    assert (len(anchors.w_p), anchors.w_r, anchors.feature) == (3, None, None)
    assert summary["stable"] >= summary["anchors"] == 3
    with (results / "tables/anchoring_map_runs.csv").open() as file:
        rows = {row["anchoring"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["ground_truth", "discovered"]
    assert len({row["judged"] for row in rows.values()}) == 1, "all are judged on the same features"
    assert 12 - 6 <= float(rows["discovered"]["judged"]) <= 12 - 3
    # a discovery depends on the store and on settings, not on any truth
    settings = {"anchorings": {"discovered": {"discover": {"min_cosine": 0.6}}}}
    assert "discover_anchors" in checkout.plan("anchoring_map", change=CHANGE | settings).rules()
    assert "discover_anchors" not in checkout.plan("table1", change=settings).rules()
