"""Tables that are not in the paper, made from files on disk."""

import json
from dataclasses import asdict

import pandas as pd
import pytest

from sdlstudy.products.bench_tables import Encoders, Harder, SynthSAEBench
from tests.sdlstudy.products import studies

SOLVERS = {"runs": {"lrb": {"methods": ["acs", "topk"]}, "smollm2": {"methods": ["acs_real"], "seeds": [5]}}}


def write_run(folder, files, cell, judged=True):
    """Write the files of a solver's or trained run beside its model; each further seed recovers a hundredth less."""
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


def test_solvers_have_a_row_a_run_with_what_its_source_is(tmp_path):
    config = studies.alone({"seeds": [0, 1], "solvers": SOLVERS})
    for cell in config.solvers.cells(config):
        write_run(tmp_path, config.files(), cell, judged=cell.source == "lrb")
    files = studies.make(config, "solvers", tmp_path)
    rows = pd.read_csv(tmp_path / files.table("solvers"))
    assert list(rows) == [
        *("solver", "n", "activation_probability", "seed", "seconds", "gt_recovery_decoder", "gt_recovery_encoder"),
        *("features_found", "fvu", "source", "train_samples", "l0"),
    ]
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
    # medians over seeds, and the smallest recovery
    cells = [cell.strip() for cell in text.splitlines()[-3].strip("|").split("|")]
    assert cells == [
        *("lrb", "acs", "128", "0.03", "20000", "2", "4.2", "0.9950", "0.0000", "101"),
        "0.0100",
        "7.2",
        "0.9900",
    ]
    assert text.splitlines()[-1].count("–") == 5


@pytest.mark.parametrize(
    ("name", "table", "values"),
    [
        ("encoders", Encoders, [*["0.500"] * 6, "–", "0.5"]),
        ("harder", Harder, [*["0.500"] * 4, "–", "0.500", "0.5", "0.50", "0.500", "0.50"]),
    ],
)
def test_a_table_has_a_row_a_run_and_means_for_people(name, table, values, tmp_path):
    config = studies.alone({"seeds": [0, 1, 2], name: {"runs": {"lrb": {"methods": ["topk"]}}}})
    for cell in config.products()[name].cells(config):
        path = tmp_path / config.files().metrics(cell)
        path.parent.mkdir(parents=True)
        metrics = dict.fromkeys(table.columns, cell.seed / 2)
        if cell.seed == 2:  # from an earlier version, which lacked it
            del metrics["fvu"]
        path.write_text(json.dumps({"run": asdict(cell), "metrics": metrics, "chance": {}}))
    files = studies.make(config, name, tmp_path)
    rows = pd.read_csv(tmp_path / files.table(name))
    assert list(rows) == ["source", "method", "seed", *table.columns]
    assert rows["fvu"].tolist()[:2] == [0, 0.5]
    assert rows["fvu"].isna().tolist() == [False, False, True]
    text = (tmp_path / files.table(name, "md")).read_text()
    assert text.startswith(table.caption)
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    assert cells == ["lrb", "TopK SAE", "3", *values]


def test_the_configuration_of_harder_benches_asks_for_every_method_on_every_bench_with_the_option_that_names_it():
    config = studies.configuration(None, "studies/harder")
    cells, benches = config.harder.cells(config), config.sources.bench
    assert len(cells) == 6 * 5 * 3
    plain = benches["plain"].model_dump()
    changed = {
        name: {key for key, value in benches[name].model_dump().items() if value != plain[key]}
        for name in config.harder.entries()
    }
    assert changed == {
        **{"plain": set(), "correlated": {"correlation"}, "zipf": {"frequency_exponent"}, "noisy": {"noise"}},
        **{"nested": {"hierarchy", "c_min", "beta"}, "denser": {"sparsity"}},
    }


def test_the_bench_of_synthsaebench_is_the_published_one_scaled_down():
    config = studies.configuration(None, "studies/synthsaebench")
    bench = config.source("synth_s")
    assert (bench.n, bench.roots, bench.n_p, bench.run.n_q) == (16384 / 16, 128 / 16, 768 / 4, bench.n / 4)
    assert {cell.seed for cell in config.synthsaebench.cells(config)} == {0, 1, 2, 3, 4}


def test_synthsaebench_has_a_row_a_run_and_intervals_for_people(tmp_path):
    config = studies.alone(
        {
            "seeds": [0, 1, 2],
            "sources": {"synth": {"small": {"n": 64, "roots": 2, "depth": 1}}},
            "synthsaebench": {"runs": {"small": {"methods": ["topk", "acs"]}}},
        }
    )
    for cell in config.synthsaebench.cells(config):
        folder = tmp_path / config.files().run(cell)
        folder.mkdir(parents=True)
        metrics = dict.fromkeys(SynthSAEBench.columns, cell.seed / 2)
        (folder / "metrics.json").write_text(json.dumps({"run": asdict(cell), "metrics": metrics, "chance": {}}))
        atoms, settings = (",atoms", {}) if cell.method == "acs" else ("", {"n_q": 24})
        (folder / "history.csv").write_text(f"samples,seconds{atoms}\n100,{cell.seed}.5{',7' if atoms else ''}\n")
        (folder / "config.json").write_text(json.dumps({"settings": settings}))
    files = studies.make(config, "synthsaebench", tmp_path)
    rows = pd.read_csv(tmp_path / files.table("synthsaebench"))
    assert list(rows) == ["source", "method", "seed", *SynthSAEBench.columns, "latents", "samples", "seconds"]
    assert rows["latents"].tolist() == [24] * 3 + [7] * 3
    text = (tmp_path / files.table("synthsaebench", "md")).read_text()
    assert text.startswith(SynthSAEBench.caption)
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    # for 0, .5 and 1, the t interval of three seeds is 4.303 standard errors to either side
    assert cells[:4] == ["small", "ACS", "3", f"0.500 ± {4.3027 * 0.5 / 3**0.5:.3f}"]
    assert cells[-3:] == ["7", "100", "1.5"]
    assert float(cells[-1]) == pytest.approx(1.5)
