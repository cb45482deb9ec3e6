"""The comparison of methods at equal L0."""

import pytest

from sdlstudy.report.page import report
from sdlstudy.results.tables import read_csv
from tests.sdlstudy.products import studies

ASKED = {
    "runs": {
        "lrb": {"methods": ["topk", "relu", "random_samples"]},
        "smollm2": {"methods": ["topk", "topk_real", "random_samples"], "protocol": "paper"},
    },
    "nulls": ["random_samples"],
}


def write_run(folder, files, cell):
    """Write a run with a score that depends on its method and seed."""
    score = {"topk": 0.9, "relu": 0.8, "topk_real": 0.7, "random_samples": 0.1}[cell.method] + cell.seed / 100
    metrics = {"mip_decoder": score, "gt_recovery_decoder": score, "fvu": score, "l0": 16.0, "dead_fraction": 0.0}
    studies.write_metrics(folder, files, cell, "step,samples,seconds\n10,500,60.0\n", {"n_q": 4}, metrics=metrics)


def test_methods_are_ranked_on_each_ground_by_its_score(tmp_path):
    config = studies.alone({"seeds": [0, 1, 2], "comparison": ASKED})
    for cell in config.comparison.cells(config):
        write_run(tmp_path, config.files(), cell)
    files = studies.make(config, "comparison", tmp_path)
    table = studies.pictured(tmp_path, files, "comparison").set_index(["ground", "method"])
    # a high MIP is good on a bench, a low FVU on activations
    assert table["score"].unique().tolist() == ["mip_decoder", "fvu"]
    assert table["rank"].dropna().to_dict() == {
        ("lrb", "topk"): 1,
        ("lrb", "relu"): 2,
        ("smollm2", "topk_real"): 1,
        ("smollm2", "topk"): 2,
    }
    # the scores of two methods differ by the same in each seed
    assert table.loc[("smollm2", "topk"), ["best_rank", "worst_rank"]].tolist() == [2, 2]
    assert table["mean"]["lrb", "topk"] == pytest.approx(0.91)
    # the t interval of three seeds is 4.303 standard errors to either side
    assert table["high"]["lrb", "topk"] == pytest.approx(0.91 + 4.3027 * 0.01 / 3**0.5, abs=1e-6)
    runs = read_csv(tmp_path / files.table("comparison_runs"))
    assert list(runs)[:3] == ["ground", "method", "seed"]
    assert len(runs) == 3 * 6
    cells = studies.printed(tmp_path, files, "comparison")
    assert [row[:4] for row in cells] == [
        ["lrb", "TopK SAE", "1", "3"],
        ["lrb", "ReLU SAE", "2", "3"],
        ["lrb", "Random samples", "–", "3"],
        ["smollm2", "TopK SAE", "2", "3"],
        ["smollm2", "TopK SAE", "1", "3"],
        ["smollm2", "Random samples", "–", "3"],
    ]
    assert cells[0][5] == "0.910 ± 0.025"
    assert cells[0][-3:] == ["4 ± 0", "500 ± 0", "60.0 ± 0.0"]
    frames = {name: read_csv(tmp_path / files.table(name)) for name in ("comparison", "comparison_runs")}
    assert "0.910 ± 0.025" in report(config, frames, {})


def test_grounds_that_share_a_source_are_ranked_apart_and_may_name_their_score(tmp_path):
    grounds = {"few": {"protocol": "best"}, "many": {"protocol": "paper", "l0": 32}, "fitted": {"score": "fvu"}}
    runs = {name: {"source": "lrb", "methods": ["topk", "relu"], **settings} for name, settings in grounds.items()}
    config = studies.alone({"seeds": [0, 1], "comparison": {"runs": runs}})
    assert {(cell.source, cell.protocol) for cell in config.comparison.cells(config)} == {
        ("lrb", "best"),
        ("lrb", "paper"),
    }
    for cell in config.comparison.cells(config):
        write_run(tmp_path, config.files(), cell)
    files = studies.make(config, "comparison", tmp_path)
    table = studies.pictured(tmp_path, files, "comparison", width=800).set_index(["ground", "method"])
    assert table["score"].unique().tolist() == ["mip_decoder", "fvu"]
    # the runs have an L0 of 16
    assert table["rank"].dropna().to_dict() == {
        ("few", "topk"): 1,
        ("few", "relu"): 2,
        ("fitted", "topk"): 2,
        ("fitted", "relu"): 1,
    }
