"""A plan counts the jobs of a configuration, with the settings of these jobs."""

import csv

import numpy as np
import pytest
from safetensors.numpy import save_file

from peers.settings import PeerConfig
from sdlcore.interop.settings import ImportConfig
from sdlcore.run import RunConfig
from sdlcore.settings import Settings
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import write_json
from sdlstudy.configuration.cost import RATE, Stage, measured_rate, plan_lines, samples, stages, too_large, weights
from sdlstudy.configuration.loading import load_yaml, validate
from sdlstudy.configuration.plan import Shape
from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.cells import Cell, trained_settings
from sdlstudy.settings.trees import merge
from tests.conftest import REPOSITORY

BASE = load_yaml(REPOSITORY / "config/config.yaml")


@pytest.fixture(scope="module")
def config() -> Configuration:
    return validate(BASE)


def planned(config: Configuration, rate: float = 1e9) -> dict[str, Stage]:
    plan = stages(config, lambda cell: 4000, lambda source: None, rate)
    return {stage.name: stage for stage in plan}


def test_every_run_and_evaluation_is_counted_once(config):
    plan = planned(config)
    trained = sum(stage.jobs for name, stage in plan.items() if name.startswith("trainings"))
    assert plan["evaluations"].jobs == len(config.cells())
    # figures 4 and 5 request runs without metrics
    assert trained + plan["solvers"].jobs == plan["evaluations"].jobs + 3 * len(config.seeds)


def test_weights_are_those_of_the_pair(config):
    n_p = config.sources.bench["lrb"].n_p
    n_q = trained_settings(config, Cell("lrb", "topk", "best", "none", 0)).model.n_q
    for method, widths in (("topk", 2), ("transcoder", 2), ("crosscoder", 4)):
        assert weights(config, Cell("lrb", method, "best", "none", 0)) == n_q * n_p * widths
    assert weights(config, Cell("smollm2", "topk_real", "best", "none", 0)) is None


def test_the_shape_of_a_source_counts_where_the_configuration_has_none(config):
    source, cell = "smollm2", Cell("smollm2", "topk_real", "best", "none", 0)
    shapes = {source: Shape(config.source(source).rows, (576, 0))}
    n_q = trained_settings(config, cell).model.n_q
    assert weights(config, cell, shapes) == n_q * 576 * 2
    stage = {one.name: one for one in stages(config, lambda cell: 4000, lambda source: None, 1e9, shapes=shapes)}
    assert stage["trainings on language"].seconds > 0
    assert stage["activations of language"].disk == sum(shapes[source].rows) * 576 * 2


def test_hours_are_work_over_the_rate_and_unknown_where_dimensions_are(config):
    cells = [
        cell for cell in config.cells() if cell.source.startswith("lrb") and not config.methods[cell.method].is_solver
    ]
    work = sum(weights(config, cell) * samples(config, cell) for cell in cells)
    plan = planned(config)
    seconds, faster = (planned(config, rate)["trainings on bench"].seconds for rate in (1e9, 1e10))
    assert seconds > work / 1e9
    assert seconds == pytest.approx(10 * faster)
    assert plan["trainings on language"].seconds is None
    assert plan["trainings on language"].disk is None


def test_processes_that_divide_latents_divide_what_a_gpu_holds(config):
    alone = planned(config)["trainings on bench"].gpu_memory
    # rounded up to a megabyte in each cell, except undivided totals
    latents, samples = (validate(BASE | {"processes": 2, "split": split}) for split in ("latents", "samples"))
    assert planned(latents)["trainings on bench"].gpu_memory == alone // 2
    assert alone // 2 <= planned(samples)["trainings on bench"].gpu_memory < alone


def test_the_rate_is_that_of_runs_trained_here(tmp_path):
    assert measured_rate(tmp_path) is None
    kinds: dict[str, Settings] = {
        "topk": RunConfig(),
        "acs": SolverConfig(),
        "theirs": PeerConfig(),
        "mine": ImportConfig(),
    }
    runs = [
        ("acs", 0, 1e-3),
        ("theirs", 0, 1e-3),
        ("mine", 0, 1e-3),
        ("topk", 0, 1.0),
        ("topk", 1, 2.0),
        ("topk", 2, 4.0),
    ]
    for method, seed, seconds in runs:
        run = tmp_path / f"tiny/runs/lrb/{method}/best/none/seed{seed}"
        run.mkdir(parents=True)
        save_file({"W_enc": np.zeros((8, 5)), "W_dec": np.zeros((8, 5)), "b": np.zeros(99)}, run / "model.safetensors")
        write_json(run / "config.json", {"settings": kinds[method].to_dict()})
        with (run / "history.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["samples", "seconds"], [50, seconds / 2], [100, seconds]])
    (run / "model.safetensors").unlink()  # a training that was restored, not done here
    assert measured_rate(tmp_path) == ((80 * 100 / 1 + 80 * 100 / 2) / 2, 2)


def test_a_plan_that_does_not_fit_is_refused_with_both_sizes():
    plan = [Stage("activations of file", 1, None), Stage("trainings on file", 2, 3 * 10**9, 4000, 500, 7200.0)]
    assert too_large(plan, 3 * 10**9) is None
    assert "needs 3.00 GB, but the disk of the results has only 2.00 GB free" in str(too_large(plan, 2 * 10**9))
    summary, _, _, *lines = plan_lines(plan, [plan[1]._replace(jobs=1, seconds=3600.0)], 2 * 10**9, 1e9, 5)
    assert summary == "1 of 2 runs are finished, 1 left: about 60 minutes one after the other."
    assert lines[0].split() == ["activations", "of", "file", "1", "0", "unknown"]
    assert lines[1].split()[3:] == ["2", "1", "3.00", "GB", "4.00", "GB", "500", "MB", "2.0", "hours", "60", "minutes"]
    assert "the 5 runs trained here" in lines[-3]
    assert "divided by 1 billion a second, the median of the 5 runs trained here." in lines[-3]
    assert "4 GB of a training's memory are for Python and its libraries. `--set-resources train:mem_mb=" in lines[-4]
    assert lines[-2] == "The jobs left need 3.00 GB of disk; 2.00 GB are free."
    assert plan_lines(plan, [], 2 * 10**9, 1e9, 5)[0] == "All 2 runs are finished."


def test_a_plan_says_where_its_speed_is_from():
    stages = [Stage("trainings on file", 2, 3 * 10**9, seconds=7200.0)]
    elsewhere, measured = (plan_lines(stages, stages, 10**10, *rate)[-3] for rate in ((RATE, 0), (2.5e6, 4)))
    assert "divided by 80 billion a second, measured on one core of another machine." in elsewhere
    assert measured.endswith("divided by 2.5 million a second, the median of the 4 runs trained here.")
    assert not any("Memory a job" in line for line in plan_lines(stages, stages, 10**10, RATE, 0))


def test_small_sizes_and_times_are_not_rounded_to_zero():
    small = [Stage("evaluations", 3, 20_000, seconds=20.0), Stage("trainings on bench", 1, 12_000_000, seconds=600.0)]
    unknown = [Stage("solvers", 1, None)]
    _, _, _, *lines = plan_lines([*small, *unknown], [*small, *unknown], 2 * 10**9, 1e9, 5)
    lines = [" ".join(line.split()) for line in lines]
    assert lines[0] == "evaluations 3 3 under 1 MB under a minute under a minute"
    assert lines[1] == "trainings on bench 1 1 12 MB 10 minutes 10 minutes"
    assert lines[-2] == "The jobs left need 12 MB of disk and an unknown amount more; 2.00 GB are free."


def test_the_remaining_jobs_are_those_without_files(config):
    files, cells = config.files(), config.cells()
    done = {path for cell in cells[:7] for path in files.all_of(cell)}
    stores = {files.store("lrb", seed, part) for seed in config.seeds for part in ("train", "test")}
    remaining_stages = stages(
        config, lambda cell: 4000, lambda source: None, 1e9, lambda path: path not in done | stores
    )
    remaining = {stage.name: stage for stage in remaining_stages}
    every = planned(config)
    assert remaining["evaluations"].jobs == every["evaluations"].jobs - 7
    assert remaining["activations of bench"].jobs == every["activations of bench"].jobs - len(config.seeds)
    assert remaining["trainings on bench"].seconds < every["trainings on bench"].seconds
    assert stages(config, lambda cell: 4000, lambda source: None, 1e9, lambda path: False) == []


def test_one_table_is_planned_by_itself(config):
    table = config.only("table1")
    assert table.cells() == config.tables["table1"].cells(config)
    assert set(table.products_by_path()) == {"tables.table1"}
    assert set(config.only("figure4").products_by_path()) == {"figures.figure4"}
    assert set(config.only("solvers").products_by_path()) == {"solvers"}
    assert table.bench_seeds("lrb") == config.seeds


def test_imported_dictionaries_are_a_separate_stage():
    tables = {"table1": {"methods": ["topk", "theirs"], "anchorings": ["none"], "protocols": ["best"]}}
    config = validate(merge(BASE, {"methods": {"theirs": {"model": "exported"}}, "tables": tables}))
    stage = planned(config)["imported dictionaries"]
    assert (stage.jobs, stage.disk) == (len(config.seeds), None)


def test_trainings_of_other_libraries_are_a_separate_stage():
    peers = validate(merge(BASE, load_yaml(REPOSITORY / "config/peers.yaml")))
    plan = planned(peers)
    cells = [cell for cell in peers.cells() if peers.methods[cell.method].is_peer]
    assert plan["trainings of other libraries"].jobs == len(cells)
    assert plan["trainings of other libraries"].disk == len(cells) * 4 * 2 * 2048 * 96
    assert plan["trainings on bench"].jobs + len(cells) == len(peers.cells())
