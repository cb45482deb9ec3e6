"""The map of the effects of anchoring, made from files on disk."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from sdlcore.data.anchors import Anchors, save_anchors
from sdlstudy.products.anchoring_map import RUN_COLUMNS
from sdlstudy.results.tables import read_csv
from tests.sdlstudy.products import studies

W = np.eye(6, dtype=np.float32)
SEEDS = [3, 4, 5]
CHANGE = {
    "seeds": [7],
    "anchorings": {
        "chosen": {"n_anchors": 1, "anchor_form": "cosine", "anchor_cosine": 0.95},
        "of_parents": {"n_anchors": 2, "features": "parents"},
    },
    "anchoring_map": {
        "seeds": SEEDS,
        "anchorings": ["ground_truth", "chosen"],
        "runs": {
            "lrb": {"methods": ["topk", "relu"]},
            "lrb_hierarchy": {"methods": ["topk_few"], "anchorings": ["of_parents", "chosen"]},
        },
    },
}
ANCHORS = {
    "ground_truth": Anchors(W[[0]], feature=np.array([0])),
    "chosen": Anchors(W[[0]], feature=np.array([0])),
    "of_parents": Anchors(W[[0, 1]], feature=np.array([0, 1])),
}


@pytest.fixture(scope="module")
def config():
    return studies.alone(CHANGE)


@pytest.fixture(scope="module")
def tables(config, tmp_path_factory):
    """Anchors gain TopK a feature, ReLU recovers all, and in the hierarchy half of the pairs stay absorbed."""
    folder, files = tmp_path_factory.mktemp("anchoring_map"), config.files()
    for cell in config.anchoring_map.cells(config):
        plain = cell.anchoring == "none"
        cosines = {"topk": [0.9, 0.96, 0.1, 0.1, 0.1, 0.1], "relu": [1.0] * 6, "topk_few": [0.1] * 6}[cell.method]
        if not plain and cell.method == "topk":
            cosines = [1.0, 0.96, 0.97, 0.1, 0.1, 0.1]
        metrics = {"fvu": 0.25, "absorption": {True: 1.0, False: 0.5}[plain] if cell.method == "topk_few" else None}
        content = {"run": asdict(cell), "metrics": metrics, "chance": {}, "features": {"decoder": cosines}}
        run = folder / files.run(cell)
        run.mkdir(parents=True)
        (run / "metrics.json").write_text(json.dumps(content))
        (run / "history.csv").write_text("step,lambda_anchor\n1,0.3\n" if cell.anchoring == "chosen" else "step\n1\n")
        if not plain:
            save_anchors(folder / files.anchors(cell.source, cell.anchoring, cell.seed), ANCHORS[cell.anchoring], {})
        studies.write_matrix(folder / files.feature_matrix(cell.source, cell.seed), W)
    files = studies.make(config, "anchoring_map", folder)
    table = studies.pictured(folder, files, "anchoring_map", 800)
    return table, read_csv(folder / files.table("anchoring_map_runs"))


def test_each_method_of_a_source_is_trained_with_each_anchoring_and_once_with_none(config):
    cells = config.anchoring_map.cells(config)
    assert len(cells) == len(set(cells)) == 3 * 3 * 3
    assert {cell.anchoring for cell in cells if cell.source == "lrb_hierarchy"} == {"none", "of_parents", "chosen"}
    assert {cell.seed for cell in cells} == set(SEEDS)


def test_runs_are_judged_on_features_that_no_anchoring_gives_away_and_the_others_apart(tables):
    _, runs = tables
    assert list(runs.columns) == RUN_COLUMNS
    topk = runs[runs["method"] == "topk"]
    assert set(topk["judged"]) == {5}
    assert set(topk["recovery"]) == {2 / 5}
    assert set(topk["recovery_none"]) == {1 / 5}
    assert set(topk["given_recovered"]) == {1.0}
    assert set(topk["given_recovered_none"]) == {0.0}
    assert set(runs[runs["method"] == "topk_few"]["judged"]) == {4}
    assert set(runs[runs["anchoring"] == "chosen"]["lambda_anchor"]) == {0.3}
    assert set(runs[runs["anchoring"] == "ground_truth"]["lambda_anchor"]) == {0.1}


def test_the_map_says_helps_where_the_interval_does_and_no_power_where_nothing_can_show(tables):
    table, _ = tables
    verdicts = {(row.method, row.measure, row.anchoring): row.verdict for row in table.itertuples()}
    assert verdicts["topk", "recovery", "ground_truth"] == "helps"
    assert verdicts["relu", "recovery", "ground_truth"] == "no power"
    assert verdicts["topk_few", "recovery", "chosen"] == "no power"
    assert verdicts["topk_few", "absorption", "chosen"] == "helps"
    assert len(table) == 2 * 3 + 2
    differences = table.set_index(["method", "measure", "anchoring"])["difference"]
    assert differences["topk", "recovery", "ground_truth"] == pytest.approx(20)  # points
    assert differences["topk_few", "absorption", "chosen"] == pytest.approx(-50)
