import dataclasses
import json

import pandas as pd
import pytest

from sdlcore.study.configuration.loading import load_yaml, validate
from sdlcore.study.configuration.run_keys import Cell, bench_table_cells
from sdlcore.study.configuration.variants import merge
from sdlcore.study.products.bench_tables import TABLES, bench_markdown, bench_table
from sdlcore.study.results.runs import read_runs
from tests.conftest import REPOSITORY


def runs(folder, **spoilt):
    """Write two seeds of one method on two benches, the second of which has a hierarchy."""
    paths = []
    for source, more in (("plain", {}), ("nested", {"absorption": 0.5})):
        for seed in (0, 1):
            metrics = dict.fromkeys(TABLES["harder"].columns, 0.25 + seed / 2) | {"absorption": None} | more | spoilt
            content = {"run": dataclasses.asdict(Cell(source, "topk", "best", "none", seed)), "metrics": metrics}
            paths.append(folder / f"{source}{seed}.json")
            paths[-1].write_text(json.dumps(content | {"chance": {}}))
    return paths


def test_it_has_a_row_a_run(tmp_path):
    table = bench_table("harder", read_runs(runs(tmp_path)))
    assert list(table) == ["source", "method", "seed", *TABLES["harder"].columns]
    assert list(table["source"]) == ["plain", "plain", "nested", "nested"]
    assert table["splitting"].tolist() == [0.25, 0.75] * 2


def test_people_read_means_over_seeds(tmp_path):
    lines = bench_markdown("harder", bench_table("harder", read_runs(runs(tmp_path)))).splitlines()
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]}
    assert cells["plain"] == [
        "plain",
        "TopK SAE",
        "2",
        "0.500",
        "0.500",
        "0.500",
        "0.500",
        "0.500",
        "0.500",
        "0.5",
        "0.50",
        "0.500",
        "–",
    ]
    assert cells["nested"][-1] == "0.50"


def test_every_column_is_of_its_metric(tmp_path):
    metrics = {name: number / 16 for number, name in enumerate(TABLES["encoders"].columns)}
    line = bench_markdown("encoders", bench_table("encoders", read_runs(runs(tmp_path, **metrics)))).splitlines()[4]
    cells = [float(cell) for cell in line.strip("|").split("|")[3:]]
    assert cells == pytest.approx(list(metrics.values()), abs=0.05)


def test_runs_of_an_earlier_version_leave_what_they_lack_empty(tmp_path):
    kept = sorted((REPOSITORY / "docs/results/paper/runs").glob("*.topk.*.json"))[:1]
    table = bench_table("harder", read_runs([*kept, *runs(tmp_path)]))
    assert pd.isna(table["splitting"].iloc[0])
    assert table["gt_recovery_decoder"].iloc[0] == pytest.approx(1, abs=0.05)


def test_the_configuration_asks_for_every_method_on_every_bench_with_the_option_that_names_it():
    config = validate(
        merge(load_yaml(REPOSITORY / "config/config.yaml"), load_yaml(REPOSITORY / "config/harder.yaml")),
    )
    cells, benches = bench_table_cells(config, "harder"), config["sources"]["bench"]
    assert len(cells) == 6 * 5 * 3
    changed = {
        name: {key for key, value in benches[name].items() if value != benches["plain"][key]}
        for name in config["harder"]["runs"]
    }
    assert changed == {
        "plain": set(),
        "correlated": {"correlation"},
        "zipf": {"frequency_exponent"},
        "noisy": {"noise"},
        "nested": {"hierarchy", "c_min", "beta"},
        "denser": {"sparsity"},
    }
