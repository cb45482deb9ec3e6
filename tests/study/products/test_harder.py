"""The table of benches that are harder than the paper's."""

import json
from dataclasses import asdict

import pandas as pd

from sdlcore.study.products.harder import Harder
from tests.study.products import made


def test_the_configuration_asks_for_every_method_on_every_bench_with_the_option_that_names_it():
    config = made.configuration(None, "harder")
    cells, benches = config.harder.cells(config), config.sources.bench
    assert len(cells) == 6 * 5 * 3
    plain = benches["plain"].model_dump()
    changed = {
        name: {key for key, value in benches[name].model_dump().items() if value != plain[key]}
        for name in config.harder.runs
    }
    assert changed == {
        "plain": set(),
        "correlated": {"correlation"},
        "zipf": {"frequency_exponent"},
        "noisy": {"noise"},
        "nested": {"hierarchy", "c_min", "beta"},
        "denser": {"sparsity"},
    }


def test_it_has_a_row_a_run_and_means_for_people(tmp_path):
    config = made.alone({"seeds": [0, 1], "harder": {"runs": {"lrb": {"methods": ["topk"]}}}})
    for cell in config.harder.cells(config):
        path = tmp_path / config.files().metrics(cell)
        path.parent.mkdir(parents=True)
        metrics = dict.fromkeys(Harder.columns, cell.seed / 2)
        path.write_text(json.dumps({"run": asdict(cell), "metrics": metrics, "chance": {}}))
    files = made.make(config, "harder", tmp_path)
    rows = pd.read_csv(tmp_path / files.table("harder"))
    assert list(rows) == ["source", "method", "seed", *Harder.columns]
    assert rows["splitting"].tolist() == [0, 0.5]
    text = (tmp_path / files.table("harder", "md")).read_text()
    assert text.startswith(Harder.caption)
    assert [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")][:4] == [
        "lrb",
        "TopK SAE",
        "2",
        "0.250",
    ]
