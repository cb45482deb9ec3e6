import dataclasses
import json

import pytest

from sdlstudy.products.bench_tables import Encoders, Harder
from sdlstudy.rendering.bench_tables import bench_text
from sdlstudy.results.runs import read_runs
from sdlstudy.settings.cells import Cell


def runs(folder, **spoilt):
    """Write two seeds of one method on two benches, the second with a hierarchy."""
    paths = []
    for source, more in (("plain", {}), ("nested", {"absorption": 0.5})):
        for seed in (0, 1):
            metrics = dict.fromkeys(Harder.columns, 0.25 + seed / 2) | {"absorption": None} | more | spoilt
            content = {"run": dataclasses.asdict(Cell(source, "topk", "best", "none", seed)), "metrics": metrics}
            paths.append(folder / f"{source}{seed}.json")
            paths[-1].write_text(json.dumps(content | {"chance": {}}))
    return paths


def lines_of(table, paths):
    return bench_text(table.columns, table.caption, read_runs(paths), table.finer).markdown().splitlines()


def test_people_read_means_over_seeds(tmp_path):
    lines = lines_of(Harder, runs(tmp_path))
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]}
    assert cells["plain"] == ["plain", "TopK SAE", "2", *["0.500"] * 6, "0.5", "0.50", "0.500", "–"]
    assert cells["nested"][-1] == "0.50"


def test_a_mean_over_some_of_the_seeds_is_none(tmp_path):
    paths = runs(tmp_path)
    content = json.loads(paths[-1].read_text())
    content["metrics"]["absorption"] = None
    paths[-1].write_text(json.dumps(content))
    assert lines_of(Harder, paths)[5].strip("| ").split("|")[-1].strip() == "–"


def test_every_column_is_of_its_metric(tmp_path):
    metrics = {name: number / 16 for number, name in enumerate(Encoders.columns)}
    line = lines_of(Encoders, runs(tmp_path, **metrics))[4]
    cells = [float(cell) for cell in line.strip("|").split("|")[3:]]
    assert cells == pytest.approx(list(metrics.values()), abs=0.05)
