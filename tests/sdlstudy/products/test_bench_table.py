"""Tables that are not in the paper, made from files on disk."""

import json

import numpy as np
import pandas as pd

from sdlcore.inside.score import LossRecovered
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.products.bench_table import Harder, Solvers
from sdlstudy.results.tables import read_csv
from tests.sdlstudy.products import studies

HALF = f"0.500 ± {4.3027 * 0.5 / 3**0.5:.3f}"
"""The mean of 0, .5 and 1: the t interval of three seeds is 4.303 standard errors to either side."""


def write_run(folder, files, cell, judged=True):
    """Write the files of a solver's or trained run; each further seed recovers a hundredth less."""
    metrics = {"fvu": 0.01, "l0": 7.25, "dead_fraction": 0.25}
    if judged:
        metrics |= {"gt_recovery_decoder": 1 - cell.seed / 100, "gt_recovery_encoder": 0.0}
    solved = files.study.methods[cell.method].settings is SolverConfig
    history = "step,samples,atoms,seconds\n1,20,200,0.5\n2,40,101,4.25\n"
    studies.write_metrics(
        folder,
        files,
        cell,
        history if solved else "step,samples,seconds\n10,500,60.0\n",
        {"solver": "acs"} if solved else {"n_q": 400},
        metrics=metrics,
    )


def test_solvers_have_a_row_for_each_run_and_a_dash_without_true_features(tmp_path):
    runs = {"lrb": {"methods": ["acs", "topk"]}, "smollm2": {"methods": ["acs_real"], "seeds": [5]}}
    config = studies.alone({"seeds": [0, 1], "solvers": {"runs": runs}})
    for cell in config.solvers.cells(config):
        write_run(tmp_path, config.files(), cell, judged=cell.source == "lrb")
    files = studies.make(config, "solvers", tmp_path)
    rows = pd.read_csv(tmp_path / files.table("solvers"))
    assert list(rows) == ["source", "method", "seed", *Solvers.columns]
    assert rows[["source", "method", "seed"]].to_numpy().tolist() == [
        *(["lrb", "acs", 0], ["lrb", "acs", 1], ["lrb", "topk", 0], ["lrb", "topk", 1], ["smollm2", "acs_real", 5])
    ]
    assert rows["features_found"].tolist() == [101, 101, 300, 300, 101]
    assert np.isnan(rows["gt_recovery_decoder"][4])
    first, _, last = studies.printed(tmp_path, files, "solvers")
    assert first == ["lrb", "ACS", "2", "4.2", "0.9950", "0.0000", "101", "0.0100", "7.2"]
    assert last.count("–") == 2


def test_harder_benches_have_means_with_intervals_and_a_dash_where_a_seed_lacks_the_metric(tmp_path):
    config = studies.alone({"seeds": [0, 1, 2], "harder": {"runs": {"lrb": {"methods": ["topk"]}}}})
    for cell in config.harder.cells(config):
        metrics = dict.fromkeys(Harder.columns, cell.seed / 2)
        if cell.seed == 2:  # from an earlier version, which lacked it
            del metrics["fvu"]
        studies.write_metrics(tmp_path, config.files(), cell, metrics=metrics)
    files = studies.make(config, "harder", tmp_path)
    rows = pd.read_csv(tmp_path / files.table("harder"))
    assert list(rows) == ["source", "method", "seed", *Harder.columns]
    assert rows["fvu"].isna().tolist() == [False, False, True]
    assert studies.printed(tmp_path, files, "harder")[0][:8] == ["lrb", "TopK SAE", "3", *[HALF] * 4, "–"]


def test_language_scores_join_the_losses_of_each_run(tmp_path):
    asked = {"runs": {"smollm2": {"methods": ["topk_real", "batchtopk_real"]}}}
    config = studies.alone({"seeds": [0, 1, 2], "language_scores": asked})
    files, losses = config.files(), {}
    for cell in config.language_scores.cells(config):
        studies.write_metrics(tmp_path, files, cell, metrics={"l0": 8.0, "fvu": 0.25})
        loss = LossRecovered(*range(13))._replace(kl_recovered_mean=cell.seed / 2, recovered_zero=None)
        losses[files.model(cell)] = loss._asdict()
    path = tmp_path / files.language_losses("smollm2")
    path.parent.mkdir()
    path.write_text(json.dumps({"losses": losses}))
    files = studies.make(config, "language_scores", tmp_path)
    rows = read_csv(tmp_path / files.table("language_scores"))
    assert list(rows) == ["source", "method", "seed", "l0", "fvu", *LossRecovered._fields]
    assert rows["kl_recovered_mean"].tolist() == [0, 0.5, 1] * 2
    cells = studies.printed(tmp_path, files, "language_scores")[-1]
    assert cells[:4] == ["smollm2", "BatchTopK SAE", "3", "8.0 ± 0.0"]
    assert cells[-1] == HALF
    assert cells[7] == "–"
