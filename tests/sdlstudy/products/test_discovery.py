"""The table of discovered anchors, made from files on disk."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from sdlcore import References
from sdlcore.data.anchors import Anchors, save_anchors
from sdlstudy.products.discovery import RUN_COLUMNS, recovery_over, unanchored_features
from sdlstudy.results.tables import read_csv
from tests.sdlstudy.products import studies

W = np.eye(6, dtype=np.float32)
ASKED = {"methods": ["topk"], "anchorings": ["ground_truth", "discovered", "discovered_all"]}
ANCHORS = {
    "ground_truth": Anchors(W[[0]], feature=np.array([0])),
    "discovered": Anchors(W[[1]]),
    # all stable directions
    "discovered_all": Anchors(W[[2, 3]]),
}
SEEDS = [0, 1]


@pytest.fixture(scope="module")
def config():
    files = {"mine": {"input": "x.npy", "run": {"n_q": 64}}}
    mine = {"methods": ["topk_real"], "anchorings": ["discovered"]}
    runs = {"lrb": ASKED, "mine": mine}
    return studies.alone({"seeds": [7], "sources": {"file": files}, "discovery": {"seeds": SEEDS, "runs": runs}})


@pytest.fixture(scope="module")
def tables(config, tmp_path_factory):
    """Runs without anchors learn only the third feature; runs with anchors learn all, but lose a tenth more."""
    folder, files = tmp_path_factory.mktemp("discovery"), config.files()
    for cell in config.discovery.cells(config):
        plain = cell.anchoring == "none"
        weights = W[[2] * 6] if plain else W
        studies.write_dictionary(folder / files.model(cell), weights, weights)
        metrics = {"fvu": 0.25 if plain else 0.35, "l0": 4.0, "dead_fraction": 0.0}
        content = {"run": asdict(cell), "metrics": metrics, "chance": {}}
        (folder / files.metrics(cell)).write_text(json.dumps(content))
        if not plain:
            save_anchors(folder / files.anchors(cell.source, cell.anchoring, cell.seed), ANCHORS[cell.anchoring], {})
    for seed in SEEDS:
        studies.write_matrix(folder / files.feature_matrix("lrb", seed), W)
    files = studies.make(config, "discovery", folder)
    table, runs = (read_csv(folder / files.table(name)) for name in ("discovery", "discovery_runs"))
    return table, runs, (folder / files.table("discovery", "md")).read_text()


def test_runs_stand_in_the_order_of_the_configuration(config, tables):
    _, runs, _ = tables
    assert list(runs) == RUN_COLUMNS
    cells = runs[["source", "method", "protocol", "anchoring", "seed"]].to_numpy().tolist()
    assert cells == [list(asdict(cell).values()) for cell in config.discovery.cells(config)]


def test_all_are_judged_on_the_features_that_none_gives_away(tables):
    _, runs, _ = tables
    rows = runs[(runs["source"] == "lrb") & (runs["seed"] == 0)].set_index("anchoring")
    assert rows["anchors"].to_dict() == {"none": 0, "ground_truth": 1, "discovered": 1, "discovered_all": 2}
    assert rows["near"].to_dict() == {"none": 0, "ground_truth": 1, "discovered": 1, "discovered_all": 2}
    assert rows["left"].to_dict() == {"none": 4, "ground_truth": 4, "discovered": 4, "discovered_all": 2}
    for side in ("encoder", "decoder"):
        assert rows[f"gt_recovery_{side}"].tolist() == [0.25, 1, 1, 1]
        assert rows[f"gt_recovery_{side}_none"].tolist() == [0.25, 0.25, 0.25, 0]
    assert rows["fvu"].tolist() == [0.25, 0.35, 0.35, 0.35]
    assert rows["fvu_none"].tolist() == [0.25] * 4


def test_a_source_without_reference_directions_has_the_loss_alone(tables):
    _, runs, _ = tables
    rows = runs[runs["source"] == "mine"]
    assert rows["anchors"].tolist() == [0, 0, 1, 1]
    assert rows[["near", "left", "gt_recovery_decoder", "mip_encoder_none"]].isna().all(axis=None)
    assert rows["fvu_none"].tolist() == [0.25] * 4


def test_the_table_has_means_and_differences_for_programs_and_people(tables):
    table, _, text = tables
    row = table.set_index(["source", "anchoring"]).loc[("lrb", "discovered")]
    assert row["seeds"] == 2
    assert row["gt_recovery_decoder_difference"] == 0.75
    assert row["fvu_difference"] == pytest.approx(0.1)
    assert len([line for line in text.splitlines() if line.startswith("| lrb")]) == 4
    assert len([line for line in text.splitlines() if line.startswith("| mine")]) == 2


REFERENCES = References(np.eye(6, dtype=np.float32))


def unit_anchors(*features):
    return Anchors(np.eye(6, dtype=np.float32)[list(features)])


def test_anchorings_are_compared_on_what_none_of_them_gives_away():
    unanchored = unanchored_features(
        {"a": unit_anchors(0, 1), "b": unit_anchors(1, 2), "all": unit_anchors(0, 1, 2, 3, 4)}, REFERENCES, ["all"]
    )
    assert (
        unanchored["none"].tolist() == unanchored["a"].tolist() == unanchored["b"].tolist() == [False] * 3 + [True] * 3
    )
    assert unanchored["all"].tolist() == [False] * 5 + [True]
    assert unanchored_features({}, REFERENCES)["none"].all()


def test_recovery_is_over_unanchored_features_and_nan_without_any():
    cosines = np.array([0.0, 0, 0, 0, 0, 1]), np.array([1.0, 1, 1, 1, 0, 0])
    unanchored = np.array([False, False, True, True, True, True])
    assert recovery_over(unanchored, *cosines) == {
        "gt_recovery_encoder": 0.25,
        "mip_encoder": 0.25,
        "gt_recovery_decoder": 0.5,
        "mip_decoder": 0.5,
    }
    assert all(np.isnan(value) for value in recovery_over(~unanchored & unanchored, *cosines).values())
