"""A plan counts the jobs of a configuration, with the settings of these jobs."""

import csv
from collections.abc import Sequence

import numpy as np
import pytest
from safetensors.numpy import save_file

from peers.settings import PeerConfig
from sdlcore.interop.settings import ImportConfig
from sdlcore.run import RunConfig
from sdlcore.settings import Settings
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import write_json
from sdlstudy.configuration.cost import (
    RATE,
    Measured,
    Stage,
    comparable_rate,
    measured_trainings,
    plan_lines,
    runs_by_product,
    samples,
    stages,
    too_large,
    weights,
)
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


def planned(config: Configuration, measured: Sequence[Measured] = ()) -> dict[str, Stage]:
    plan = stages(config, lambda cell: 4000, lambda source: None, measured)
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
    stage = {one.name: one for one in stages(config, lambda cell: 4000, lambda source: None, shapes=shapes)}
    assert stage["trainings on language"].seconds > 0
    assert stage["activations of language"].disk == sum(shapes[source].rows) * 576 * 2


def test_hours_are_work_over_the_rate_and_unknown_where_dimensions_are(config):
    cells = [
        cell for cell in config.cells() if cell.source.startswith("lrb") and not config.methods[cell.method].is_solver
    ]
    work = sum(weights(config, cell) * samples(config, cell) for cell in cells)
    plan = planned(config)
    every_size = 10.0 ** np.arange(3, 12)
    seconds, faster = (
        planned(config, [Measured(step, rate) for step in every_size])["trainings on bench"].seconds
        for rate in (1e9, 1e10)
    )
    assert seconds > work / 1e9
    assert seconds == pytest.approx(10 * faster)
    assert plan["trainings on bench"].seconds == pytest.approx(seconds * 1e9 / RATE)
    assert plan["trainings on language"].seconds is None
    assert plan["trainings on language"].disk is None


def test_processes_that_divide_latents_divide_what_a_gpu_holds(config):
    alone = planned(config)["trainings on bench"].gpu_memory
    # rounded up to a megabyte in each cell, except undivided totals
    latents, samples = (validate(BASE | {"processes": 2, "split": split}) for split in ("latents", "samples"))
    assert planned(latents)["trainings on bench"].gpu_memory == alone // 2
    assert alone // 2 <= planned(samples)["trainings on bench"].gpu_memory < alone


def test_speeds_are_those_of_trainings_that_finished_here(tmp_path):
    assert measured_trainings(tmp_path) == []
    kinds: dict[str, Settings] = {
        "topk": RunConfig.from_dict({"batch_size": 50}),
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
    assert sorted(measured_trainings(tmp_path)) == [(80 * 50, 80 * 100 / 2), (80 * 50, 80 * 100 / 1)]


def test_small_trainings_say_nothing_about_large_ones(config):
    nine_tiny = [Measured(480 * 2 * 128, 1e10)] * 9
    large = trained_settings(config, Cell("lrb", "topk", "best", "none", 0))
    step = 2048 * 96 * 2 * large.training.batch_size
    assert comparable_rate(step, nine_tiny) is None
    table = config.only("table1")
    assert planned(table, nine_tiny)["trainings on bench"] == planned(table)["trainings on bench"]
    assert comparable_rate(step, [*nine_tiny, Measured(step // 9, 4e10), Measured(step * 9, 6e10)]) == 5e10
    assert comparable_rate(nine_tiny[0].step, nine_tiny) == 1e10


def test_a_plan_that_does_not_fit_is_refused_with_both_sizes():
    plan = [Stage("activations of file", 1, None), Stage("trainings on file", 2, 3 * 10**9, 4000, 500, 7200.0)]
    assert too_large(plan, 3 * 10**9) is None
    assert "needs 3.00 GB, but the disk of the results has only 2.00 GB free" in str(too_large(plan, 2 * 10**9))
    summary, _, _, *lines = plan_lines(plan, [plan[1]._replace(jobs=1, seconds=3600.0)], 2 * 10**9, {"own_mine": 2})
    assert summary == "1 of 2 runs are finished, 1 left: about 60 minutes one after the other."
    assert lines[0].split() == ["activations", "of", "file", "1", "0", "unknown"]
    assert lines[1].split()[3:] == ["2", "1", "3.00", "GB", "4.00", "GB", "500", "MB", "2.0", "hours", "60", "minutes"]
    assert lines[-3].endswith("by the median speed of the trainings that finished here with steps of a similar size.")
    assert "4 GB of a training's memory are for Python and its libraries. `--set-resources train:mem_mb=" in lines[-4]
    assert lines[-2] == "The jobs left need 3.00 GB of disk; 2.00 GB are free."
    assert plan_lines(plan, [], 2 * 10**9, {"own_mine": 2})[0] == "All 2 runs are finished."


def test_a_plan_says_where_its_speed_is_from():
    stage = Stage("trainings on file", 5, 3 * 10**9, seconds=7200.0)
    lines = (plan_lines(both, both, 10**10, {})[-3] for n in (5, 2, 0) if (both := [stage._replace(unmeasured=n)]))
    elsewhere, partly, here = lines
    assert elsewhere.endswith("divided by 80 billion a second, measured on one core of another machine.")
    assert partly.endswith(
        "size; for 2 of 5 there is none, so by 80 billion a second, measured on one core of another machine."
    )
    assert here.endswith("the median speed of the trainings that finished here with steps of a similar size.")
    assert not any("Memory a job" in line for line in plan_lines([stage], [stage], 10**10, {}))


def test_a_plan_names_what_its_times_do_not_count():
    language = Stage("activations of language", 1, 10, passes=("smollm2",))
    streamed = Stage("trainings on language", 2, 10, seconds=7200.0, passes=("llama", "smollm2"))
    left = [language, streamed, Stage("language scores", 1, 10), Stage("evaluations", 2, 10)]
    summary, *lines = plan_lines(left, left, 10**10, {})
    assert summary.endswith("2 left: about 2.0 hours one after the other, without passes of the model.")
    assert lines[-3] == (
        "These times do not count: passes of the model for smollm2, llama (set samples_per_second); language scores; "
        "evaluations."
    )
    done = [stage._replace(passes=(), seconds=10.0) for stage in left]
    assert not any("do not count" in line for line in plan_lines(done, done, 10**10, {}))


def test_sources_whose_model_has_no_given_speed_are_not_counted(config):
    change = {"language": {"smollm2": {"stream": True}, "timed": {"like": "smollm2", "samples_per_second": 100}}}
    runs = {"smollm2": {"methods": ["topk_real"]}, "timed": {"methods": ["topk_real"]}}
    plan = planned(validate(merge(BASE, {"sources": change, "language_scores": {"runs": runs}})))
    assert plan["trainings on language"].passes == ("smollm2",)
    assert plan["activations of language"].passes == ("smollm2",)
    assert plan["activations of clip"].passes == ("fashion_clip",)
    assert plan["activations of bench"].passes == ()
    assert plan["language scores"].jobs == 2
    assert plan["activations of language"].seconds == 4000 / 100  # the evaluation rows of the source timed
    assert planned(config)["activations of language"].passes == ("smollm2",)


def test_runs_are_counted_by_table_and_figure_each_once(config):
    numbers = runs_by_product(config)
    assert sum(numbers.values()) == len(config.all_cells())
    assert numbers["figure6"] == 2 * len(config.seeds)
    assert "table2" in numbers
    assert "table3" not in numbers
    shown = plan_lines([], [], 10**10, {"own_mine": 1, "figure6": 2})
    assert "Runs by table and figure: own_mine 1, figure6 2. A run of several counts for the first." in shown
    assert not any("Runs by" in line for line in plan_lines([], [], 10**10, {"own_mine": 1}))


def test_small_sizes_and_times_are_not_rounded_to_zero():
    small = [Stage("evaluations", 3, 20_000, seconds=20.0), Stage("trainings on bench", 1, 12_000_000, seconds=600.0)]
    unknown = [Stage("solvers", 1, None)]
    _, _, _, *lines = plan_lines([*small, *unknown], [*small, *unknown], 2 * 10**9, {"own_mine": 2})
    lines = [" ".join(line.split()) for line in lines]
    assert lines[0] == "evaluations 3 3 under 1 MB under a minute under a minute"
    assert lines[1] == "trainings on bench 1 1 12 MB 10 minutes 10 minutes"
    assert lines[-2] == "The jobs left need 12 MB of disk and an unknown amount more; 2.00 GB are free."


def test_the_remaining_jobs_are_those_without_files(config):
    files, cells = config.files(), config.cells()
    done = {path for cell in cells[:7] for path in files.all_of(cell)}
    stores = {files.store("lrb", seed, part) for seed in config.seeds for part in ("train", "test")}
    remaining_stages = stages(
        config, lambda cell: 4000, lambda source: None, missing=lambda path: path not in done | stores
    )
    remaining = {stage.name: stage for stage in remaining_stages}
    every = planned(config)
    assert remaining["evaluations"].jobs == every["evaluations"].jobs - 7
    assert remaining["activations of bench"].jobs == every["activations of bench"].jobs - len(config.seeds)
    assert remaining["trainings on bench"].seconds < every["trainings on bench"].seconds
    assert stages(config, lambda cell: 4000, lambda source: None, missing=lambda path: False) == []


def test_one_table_is_planned_by_itself(config):
    table = config.only("table1")
    assert table.cells() == config.tables["table1"].cells(config)
    assert set(table.products_by_path()) == {"tables.table1"}
    assert set(config.only("figure4").products_by_path()) == {"figures.figure4"}
    assert set(config.only("solvers").products_by_path()) == {"solvers"}
    assert table.bench_seeds("lrb") == config.seeds


@pytest.mark.parametrize(
    ("stage", "method"),
    [
        ("imported dictionaries", {"model": "exported"}),
        ("codes by search", {"warm_start": "topk", "search": "posterior"}),
    ],
)
def test_imported_dictionaries_and_codes_by_search_are_separate_stages(stage, method):
    tables = {"table1": {"methods": ["topk", "theirs"], "anchorings": ["none"], "protocols": ["best"]}}
    config = validate(merge(BASE, {"methods": {"theirs": method}, "tables": tables}))
    assert (planned(config)[stage].jobs, planned(config)[stage].disk) == (len(config.seeds), None)


def test_trainings_of_other_libraries_are_a_separate_stage():
    peers = validate(merge(BASE, load_yaml(REPOSITORY / "config/peers.yaml")))
    plan = planned(peers)
    cells = [cell for cell in peers.cells() if peers.methods[cell.method].is_peer]
    assert plan["trainings of other libraries"].jobs == len(cells)
    assert plan["trainings of other libraries"].disk == len(cells) * 4 * 2 * 2048 * 96
    assert plan["trainings on bench"].jobs + len(cells) == len(peers.cells())
