import json

import pytest

from sdlstudy.rendering.solvers_table import COLUMNS, BenchFacts, solvers_table, solvers_text
from sdlstudy.results.runs import RunsError

BENCHES = {"lrb": BenchFacts(100, 0.99, 2000)}


def run(folder, method, seed, history, source="lrb", **settings):
    path = folder / source / method / str(seed)
    path.mkdir(parents=True)
    key = {"source": source, "method": method, "protocol": "best", "anchoring": "none", "seed": seed}
    metrics = {"fvu": 0.01, "l0": 7.25, "dead_fraction": 0.25}
    if source in BENCHES:
        metrics |= {"gt_recovery_decoder": 1 - seed / 100, "gt_recovery_encoder": 0.0}
    (path / "metrics.json").write_text(json.dumps({"run": key, "metrics": metrics, "chance": {}}))
    (path / "history.csv").write_text(history)
    (path / "config.json").write_text(json.dumps({"settings": settings}))
    return path / "metrics.json"


@pytest.fixture
def metrics(tmp_path):
    solved = "step,atoms,seconds\n1,200,0.5\n2,101,4.25\n"
    paths = [run(tmp_path, "acs", seed, solved, solver="acs") for seed in (0, 1, 2)]
    return [*paths, run(tmp_path, "topk", 0, "step,seconds\n10,60.0\n", n_q=400)]


def test_it_has_a_row_a_run(metrics):
    table = solvers_table(metrics, BENCHES)
    assert list(table) == COLUMNS
    acs, topk = table.iloc[1], table.iloc[3]
    assert (acs["solver"], acs["n"], acs["activation_probability"], acs["seed"]) == ("acs", 100, 0.01, 1)
    assert (acs["seconds"], acs["features_found"], acs["gt_recovery_decoder"]) == (4.25, 101, 0.99)
    # for a trained dictionary, the number of latents that are ever active
    assert (topk["solver"], topk["features_found"], topk["seconds"]) == ("topk", 300, 60.0)


def test_people_read_medians_and_the_least_recovery(metrics):
    text = solvers_text(solvers_table(metrics, BENCHES)).markdown()
    (acs,) = [line for line in text.splitlines() if "| acs" in line]
    cells = [cell.strip() for cell in acs.strip("|").split("|")]
    numbers = ["100", "0.01", "2000", "3", "4.2", "0.9900", "0.0000", "101", "0.0100", "7.2", "0.9800"]
    assert cells == ["lrb", "acs", *numbers]


def test_activations_without_true_features_have_the_columns_that_need_none(metrics, tmp_path):
    real = run(tmp_path, "acs", 0, "step,atoms,seconds\n1,50,2.0\n", source="smollm2", solver="acs")
    facts = BENCHES | {"smollm2": BenchFacts(None, None, 500)}
    table = solvers_table([*metrics, real], facts)
    row = table.iloc[-1]
    assert (row["features_found"], row["fvu"], row["l0"], row["train_samples"]) == (50, 0.01, 7.25, 500)
    unknown = ["n", "activation_probability", "gt_recovery_decoder", "gt_recovery_encoder"]
    assert list(table.columns[table.iloc[-1].isna()]) == unknown
    # whole numbers in mixed columns stay whole
    assert table.to_csv(index=False).splitlines()[1].startswith("acs,100,0.01,0,")
    last = solvers_text(table).markdown().strip().splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells == ["smollm2", "acs", "–", "–", "500", "1", "2.0", "–", "–", "50", "0.0100", "7.2", "–"]


@pytest.mark.parametrize(("file", "text"), [("history.csv", "step\n"), ("config.json", "{}")])
def test_a_run_without_its_files_is_named(metrics, file, text):
    path = metrics[0].parent / file
    path.write_text(text)
    with pytest.raises(RunsError, match=str(path)):
        solvers_table(metrics, BENCHES)
