import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from sdlcore.study.configuration.loading import validate
from sdlcore.study.configuration.run_keys import Cell
from sdlcore.study.results.kept import agrees, file_name, publish, restore, run_path, settings_of
from tests.conftest import REPOSITORY

CELL = Cell("lrb", "topk", "best", "none", 0)


def config(change: str = "{}") -> dict:
    tree = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())

    def lay(over: dict, under: dict) -> dict:
        for key, value in over.items():
            under[key] = lay(value, under.get(key, {})) if isinstance(value, dict) else value
        return under

    return validate(lay(yaml.safe_load(change), tree))


@pytest.mark.parametrize(
    "change",
    [
        "{methods: {topk: {k: 9}}}",
        "{protocols: {best: {run: {lr: 0.1}}}}",
        "{sources: {bench: {lrb: {sparsity: 0.9}}}}",
        "{sources: {bench: {lrb: {run: {n_q: 64}}}}}",
        "{anchorings: {ground_truth: {n_anchors: 5}}}",
    ],
)
def test_every_setting_that_metrics_hang_on_is_in_the_settings_of_a_run(change):
    assert settings_of(config(change), CELL) != settings_of(config(), CELL)


@pytest.mark.parametrize(
    "change",
    [
        "{name: another}",
        "{seeds: [0]}",
        "{methods: {batchtopk: {k: 9}}}",
        "{protocols: {best: {run: {log_every: 7}}}}",
        "{sources: {bench: {lrb_3d: {sparsity: 0.9}}}}",
        "{device: cpu}",
    ],
)
def test_nothing_else_is(change):
    assert settings_of(config(change), CELL) == settings_of(config(), CELL)


@pytest.mark.parametrize("change", ["frequency_exponent: 0.5", "correlation: 0.3", "noise: 0.1"])
def test_a_run_that_was_kept_before_a_setting_existed_agrees_with_its_default_alone(change):
    older = settings_of(config(), CELL)
    del older["source"]["bench"][change.partition(":")[0]]
    assert agrees(older, config(), CELL)
    assert not agrees(older, config(f"{{sources: {{bench: {{lrb: {{{change}}}}}}}}}"), CELL)


def test_settings_of_runs_that_came_later_count_likewise():
    older = settings_of(config(), CELL)
    del older["run"]["whiten"]
    assert agrees(older, config(), CELL)
    assert not agrees(older, config("{methods: {topk: {whiten: true}}}"), CELL)
    del older["run"]["n_q"]
    assert not agrees(older, config(), CELL), "the configuration has another value than the default"


def test_a_setting_that_is_no_more_is_not_passed_over():
    newer = settings_of(config(), CELL)
    newer["run"]["gone"] = 1
    assert not agrees(newer, config(), CELL)


def test_every_run_that_is_kept_still_has_the_settings_that_it_was_made_with():
    paper = config((REPOSITORY / "config/paper.yaml").read_text())
    kept = [json.loads(path.read_text()) for path in (REPOSITORY / "docs/results/paper/runs").glob("*.json")]
    assert kept
    outdated = [run["run"] for run in kept if not agrees(run["settings"], paper, Cell(**run["run"]))]
    assert outdated == []


def test_of_a_warm_start_the_run_that_it_starts_from_counts():
    warm = config("{methods: {topk: {warm_start: acs}}}")
    changed = config("{methods: {topk: {warm_start: acs}, acs: {ridge: 0.01}}}")
    assert different([settings_of(each, CELL) for each in (config(), warm, changed)])


def test_of_discovered_anchors_the_solver_counts():
    found = dataclasses.replace(CELL, anchoring="discovered")
    finer = config("{anchorings: {discovered: {discover: {min_cosine: 0.8}}}}")
    assert different(
        [settings_of(each, found) for each in (config(), config("{methods: {acs: {ridge: 0.01}}}"), finer)]
    )
    assert settings_of(config("{methods: {acs: {ridge: 0.01}}}"), CELL) == settings_of(config(), CELL)


def test_settings_of_cells_differ():
    others = [
        CELL,
        *(dataclasses.replace(CELL, **{key: value}) for key, value in (("method", "batchtopk"), ("seed", 1))),
    ]
    others.append(dataclasses.replace(CELL, anchoring="ground_truth"))
    others.append(dataclasses.replace(CELL, protocol="paper"))
    assert different([settings_of(config(), cell) for cell in others])


def different(settings: list[dict]) -> bool:
    return len({json.dumps(each, sort_keys=True) for each in settings}) == len(settings)


def finish(results: Path, cell: Cell) -> bytes:
    run = results / run_path(cell)
    run.mkdir(parents=True)
    (run / "metrics.json").write_text(
        json.dumps({"run": dataclasses.asdict(cell), "metrics": {"l0": 3}}, indent=2) + "\n"
    )
    (run / "history.csv").write_text("step,seconds,loss\n1,0.5,3\n2,1.25,2\n")
    return (run / "metrics.json").read_bytes()


def test_metrics_go_there_and_back(tmp_path):
    results, folder, again = (tmp_path / name for name in ("results", "folder", "again"))
    cells = [CELL, dataclasses.replace(CELL, seed=1)]
    content = finish(results, CELL)
    assert [path.name for path in publish(config(), cells, results, folder)] == [file_name(CELL)]
    assert json.loads((folder / file_name(CELL)).read_text())["training_seconds"] == 1.25
    assert publish(config(), cells, results, folder) == [], "what is there is left alone"
    assert restore(config(), cells, folder, again) == [again / run_path(CELL) / "metrics.json"]
    assert (again / run_path(CELL) / "metrics.json").read_bytes() == content
    assert publish(config(), cells, again, folder) == [], "what was restored keeps its seconds"


def test_what_is_there_or_says_something_else_is_not_restored(tmp_path):
    results, folder, again = (tmp_path / name for name in ("results", "folder", "again"))
    finish(results, CELL)
    publish(config(), [CELL], results, folder)
    assert restore(config(), [CELL], folder, results) == []
    assert restore(config("{methods: {topk: {k: 9}}}"), [CELL], folder, again) == []
    assert not again.exists()
