"""The figure of loss and recovery over seconds, made from files on disk."""

import pandas as pd

from tests.sdlstudy.products import studies

CONVERGENCE = {"source": "lrb", "methods": ["topk", "acs"], "protocols": ["best", "paper"], "seeds": [0, 2]}


def configuration(**changes):
    return studies.alone({"figures": {"convergence": CONVERGENCE | changes}})


def test_it_has_the_course_of_each_run_and_a_solvers_once(tmp_path):
    config = configuration()
    cells = config.figures.convergence.cells_without_metrics(config)
    for number, cell in enumerate(cells):
        path = tmp_path / config.files().history(cell)
        path.parent.mkdir(parents=True)
        rows = {"step": [1, 2], "seconds": [1.0, 2.0], "fvu": [0.5, 0.25], "gt_recovery_decoder": [0.0, number / 10]}
        pd.DataFrame(rows).to_csv(path, index=False)
    rows = studies.pictured(tmp_path, studies.make(config, "convergence", tmp_path), "convergence")
    last = rows[rows["step"] == 2].assign(protocol=lambda frame: frame["protocol"].fillna(""))
    assert last[["method", "protocol", "seed", "gt_recovery_decoder"]].to_numpy().tolist() == [
        ["topk", "best", 0, 0.0],
        ["topk", "best", 2, 0.1],
        ["topk", "paper", 0, 0.2],
        ["topk", "paper", 2, 0.3],
        ["acs", "", 0, 0.4],
        ["acs", "", 2, 0.5],
    ]
    assert rows["gt_recovery_encoder"].isna().all()


def test_its_runs_are_watched_and_need_no_metrics():
    config = configuration(seeds=None)
    convergence = config.figures.convergence
    assert convergence.watched(config) == convergence.cells_without_metrics(config) == config.all_cells()
    assert config.cells() == []
    assert {cell.seed for cell in config.all_cells()} == {config.seeds[0]}
    assert not any(path.endswith("metrics.json") for path in convergence.beside(config.files()))
