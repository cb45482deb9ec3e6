import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from sdlstudy.configuration.loading import load_yaml, validate
from sdlstudy.results.kept import agrees, file_name, publish, restore, settings_of
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.files import Files
from sdlstudy.settings.trees import merge
from tests.conftest import REPOSITORY

CELL = Cell("lrb", "topk", "best", "none", 0)


def files(change: str = "{}") -> Files:
    return validate(merge(load_yaml(REPOSITORY / "config/config.yaml"), yaml.safe_load(change))).files()


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
    assert settings_of(files(change), CELL) != settings_of(files(), CELL)


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
    assert settings_of(files(change), CELL) == settings_of(files(), CELL)


@pytest.mark.parametrize("change", ["frequency_exponent: 0.5", "correlation: 0.3", "noise: 0.1"])
def test_a_run_stored_before_a_setting_existed_agrees_with_its_default_alone(change):
    older = settings_of(files(), CELL)
    del older["source"]["bench"][change.partition(":")[0]]
    assert agrees(older, files(), CELL)
    assert not agrees(older, files(f"{{sources: {{bench: {{lrb: {{{change}}}}}}}}}"), CELL)


def test_settings_of_runs_that_came_later_count_likewise():
    older = settings_of(files(), CELL)
    del older["run"]["whiten"]
    assert agrees(older, files(), CELL)
    assert not agrees(older, files("{methods: {topk: {whiten: true}}}"), CELL)
    del older["run"]["n_q"]
    assert not agrees(older, files(), CELL), "the configuration has another value than the default"


def test_a_setting_that_is_no_more_is_not_passed_over():
    newer = settings_of(files(), CELL)
    newer["run"]["gone"] = 1
    assert not agrees(newer, files(), CELL)


def test_every_stored_run_agrees_with_the_configuration_of_the_paper():
    paper = files((REPOSITORY / "config/paper.yaml").read_text())
    stored_runs = [json.loads(path.read_text()) for path in (REPOSITORY / "docs/results/paper/runs").glob("*.json")]
    assert stored_runs
    outdated = [run["run"] for run in stored_runs if not agrees(run["settings"], paper, Cell(**run["run"]))]
    assert outdated == []


def test_of_a_warm_start_the_run_that_it_starts_from_counts():
    warm = files("{methods: {topk: {warm_start: acs}}}")
    changed = files("{methods: {topk: {warm_start: acs}, acs: {ridge: 0.01}}}")
    assert different([settings_of(each, CELL) for each in (files(), warm, changed)])


def test_of_discovered_anchors_the_solver_counts():
    cell = dataclasses.replace(CELL, anchoring="discovered")
    finer = files("{anchorings: {discovered: {discover: {min_cosine: 0.8}}}}")
    assert different([settings_of(each, cell) for each in (files(), files("{methods: {acs: {ridge: 0.01}}}"), finer)])
    assert settings_of(files("{methods: {acs: {ridge: 0.01}}}"), CELL) == settings_of(files(), CELL)


def test_a_run_beside_it_counts_that_has_the_means_of_classes_centred_which_it_is_judged_by():
    means, beside = dataclasses.replace(CELL, source="fashion_clip"), "{methods: {batchtopk: {normalise: true}}}"
    assert different([settings_of(each, means) for each in (files(), files(beside))])
    assert not agrees(settings_of(files(), means), files(beside), means)


def test_settings_of_cells_differ():
    others = [
        CELL,
        *(dataclasses.replace(CELL, **{key: value}) for key, value in (("method", "batchtopk"), ("seed", 1))),
    ]
    others.append(dataclasses.replace(CELL, anchoring="ground_truth"))
    others.append(dataclasses.replace(CELL, protocol="paper"))
    assert different([settings_of(files(), cell) for cell in others])


def different(settings: list[dict]) -> bool:
    return len({json.dumps(each, sort_keys=True) for each in settings}) == len(settings)


def finish(run: Path) -> bytes:
    run.mkdir(parents=True)
    (run / "metrics.json").write_text(
        json.dumps({"run": dataclasses.asdict(CELL), "metrics": {"l0": 3}}, indent=2) + "\n"
    )
    (run / "history.csv").write_text("step,seconds,loss\n1,0.5,3\n2,1.25,2\n")
    return (run / "metrics.json").read_bytes()


@pytest.fixture
def folders(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Enter a folder with runs; return the folder of kept results and another one without runs."""
    for name in ("here", "again"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "kept", tmp_path / "again"


def test_published_metrics_are_restored(folders, monkeypatch):
    store, again = folders
    cells, metrics = [CELL, dataclasses.replace(CELL, seed=1)], Path(files().metrics(CELL))
    content = finish(metrics.parent)
    assert [path.name for path in publish(files(), cells, store)] == [file_name(CELL)]
    assert json.loads((store / file_name(CELL)).read_text())["training_seconds"] == 1.25
    assert publish(files(), cells, store) == [], "what is there is left alone"
    monkeypatch.chdir(again)
    assert restore(files(), cells, store) == [metrics]
    assert metrics.read_bytes() == content
    assert publish(files(), cells, store) == [], "what was restored keeps its seconds"
    path = store / file_name(CELL)
    older = json.loads(path.read_text())
    del older["settings"]["run"]["lr_decay"]  # as if the setting had been introduced later, with its default
    path.write_text(json.dumps(older))
    assert publish(files(), cells, store) == [], "and its settings"
    older["metrics"]["fvu"] = 0.5
    path.write_text(json.dumps(older))
    assert publish(files(), cells, store) == [path]


def test_existing_metrics_and_those_of_other_settings_are_not_restored(folders, monkeypatch):
    store, again = folders
    finish(Path(files().run(CELL)))
    publish(files(), [CELL], store)
    assert restore(files(), [CELL], store) == []
    monkeypatch.chdir(again)
    assert restore(files("{methods: {topk: {k: 9}}}"), [CELL], store) == []
    assert not list(again.iterdir())
