"""The table of solvers, made from files on disk."""

import json

import pandas as pd

from sdlcore.study.rendering.solvers_table import COLUMNS
from tests.study.products import made

SOLVERS = {"runs": {"lrb": {"methods": ["acs", "topk"]}, "smollm2": {"methods": ["acs_real"], "seeds": [5]}}}


def write_run(folder, files, cell, judged=True):
    """Write what a solver's run, or a trained one, leaves beside its model; a seed more finds a hundredth less."""
    path = folder / files.run(cell)
    path.mkdir(parents=True)
    metrics = {"fvu": 0.01, "l0": 7.25, "dead_fraction": 0.25}
    if judged:
        metrics |= {"gt_recovery_decoder": 1 - cell.seed / 100, "gt_recovery_encoder": 0.0}
    run = {name: getattr(cell, name) for name in ("source", "method", "protocol", "anchoring", "seed")}
    (path / "metrics.json").write_text(json.dumps({"run": run, "metrics": metrics, "chance": {}}))
    solved = files.study.methods[cell.method].is_solver
    history = "step,samples,atoms,seconds\n1,20,200,0.5\n2,40,101,4.25\n"
    (path / "history.csv").write_text(history if solved else "step,samples,seconds\n10,500,60.0\n")
    (path / "config.json").write_text(json.dumps({"settings": {"solver": "acs"} if solved else {"n_q": 400}}))


def test_it_has_a_row_a_run_with_what_its_source_is(tmp_path):
    config = made.alone({"seeds": [0, 1], "solvers": SOLVERS})
    for cell in config.solvers.cells(config):
        write_run(tmp_path, config.files(), cell, judged=cell.source == "lrb")
    files = made.make(config, "solvers", tmp_path)
    rows = pd.read_csv(tmp_path / files.table("solvers"))
    assert list(rows) == COLUMNS
    assert rows[["source", "solver", "seed"]].to_numpy().tolist() == [
        ["lrb", "acs", 0],
        ["lrb", "acs", 1],
        ["lrb", "topk", 0],
        ["lrb", "topk", 1],
        ["smollm2", "acs_real", 5],
    ]
    assert rows["n"].tolist()[:4] == [128] * 4
    assert rows["activation_probability"].tolist()[:4] == [0.03] * 4
    assert rows["train_samples"].tolist() == [20000] * 5
    assert rows["features_found"].tolist() == [101, 101, 300, 300, 101]
    assert rows.iloc[4][["n", "activation_probability", "gt_recovery_decoder"]].isna().all()
    text = (tmp_path / files.table("solvers", "md")).read_text()
    assert text == config.solvers.text_table("solvers", rows.astype({"n": "Int64"})).markdown()
    assert text.splitlines()[-1].count("–") == 5


def test_it_may_be_of_stored_sources_of_any_kind():
    config = made.alone(
        {"solvers": {"runs": {"fashion_clip": {"methods": ["acs_images"]}, "lrb": {"methods": ["acs"]}}}}
    )
    assert {cell.source for cell in config.solvers.cells(config)} == {"fashion_clip", "lrb"}
