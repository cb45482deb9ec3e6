"""The tiny pipeline, run to its end: its files, and the causes that recompute them."""

import csv
import json
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager

import pytest
from safetensors import safe_open

from sdlcore.data.reading import ActivationStore
from sdlcore.model.saving import load_model
from sdlcore.storage.files import sha256_of
from tests.conftest import REPOSITORY
from tests.workflow.conftest import read_plan, snakemake

RUN = "results/tiny/runs/lrb/topk/best/none/seed0"


@contextmanager
def edited(path, text):
    """Append text to a file, and restore the file afterwards."""
    before = path.read_text()
    path.write_text(before + text)
    try:
        yield
    finally:
        path.write_text(before)


def test_a_run_makes_every_table_figure_and_the_report(finished):
    results = finished.path / "results/tiny"
    expected = [f"tables/table1.{suffix}" for suffix in ("csv", "md", "tex")]
    expected += [f"tables/table3.{suffix}" for suffix in ("csv", "md", "tex")]
    expected += [f"figures/figure{number}.{suffix}" for number in (6, 8) for suffix in ("png", "pdf")]
    expected += ["tables/table1_verdicts.csv"]
    for name in [*expected, "report.html"]:
        assert (results / name).stat().st_size > 100, name
    assert "Open results/tiny/report.html" in finished.output
    with (results / "tables/table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["anchoring"]) for row in rows] == [
        *(("topk", "none"), ("topk", "ground_truth")),
        *(("crosscoder", "none"), ("crosscoder", "ground_truth")),
    ]


@pytest.mark.slow
def test_snakemakes_report_lists_every_table_and_figure_with_its_caption(finished, tmp_path):
    page = tmp_path / "report.html"
    finished.snakemake("--report", str(page))
    text = page.read_text()
    results = finished.path / "results/tiny"
    files = [path for path in results.glob("*/*") if path.parent.name in ("tables", "figures")]
    files = [path for path in files if path.suffix in (".png", ".md", ".csv")]
    assert len(files) > 10
    for path in files:
        name = os.path.relpath(path, finished.path)
        described = text[text.index(f'"{name}": {{') :][:2000]
        assert f'"name": "{path.stem}"' in described
        assert '"shows": "' in described
        assert "makes this file and everything that it reads" in described


def test_every_file_says_where_it_came_from(finished):
    results = finished.path / "results/tiny"
    with ActivationStore(results / "activations/lrb/seed0/train.h5") as store:
        assert store.provenance["seed"] == 0
        assert store.provenance["bench"]["sparsity"] == 0.8
    config = json.loads((finished.path / RUN / "config.json").read_text())
    assert config["settings"]["k"] == 6
    assert config["versions"]["torch"]
    assert json.loads((finished.path / RUN / "metrics.json").read_text())["run"]["method"] == "topk"
    load_model(finished.path / RUN / "model.safetensors")
    metrics = json.loads((finished.path / RUN / "metrics.json").read_text())
    assert metrics["provenance"]["identity"]["inputs"]["model"] == sha256_of(finished.path / RUN / "model.safetensors")
    for path in (
        results / "bench/lrb/seed0/feature_matrix.safetensors",
        results / "anchors/lrb/ground_truth/seed0.safetensors",
    ):
        with safe_open(path, "np") as file:
            facts = json.loads(file.metadata()["provenance"])
        assert facts["seed"] == 0
        assert facts["package"]


def test_touching_every_file_or_editing_code_reruns_nothing(finished):
    for part in ("Snakefile", "workflow", "config", "src", "resources", "environment.yml"):
        for path in [finished.path / part, *(finished.path / part).rglob("*")]:
            if path.is_file():
                os.utime(path)
    modules = ["src/sdlcore/model/losses/total.py", "src/sdlcore/config.py", "workflow/scripts/train.py"]
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(edited(finished.path / module, "\nEDIT = 1\n"))
        plan = finished.plan()
    assert plan.jobs == []
    assert "Nothing to be done" in plan.text


def test_a_copied_checkout_with_snakemakes_records_makes_nothing_anew(finished, tmp_path):
    """Every file has a new path and a new time."""
    subprocess.run(["cp", "-r", finished.path, tmp_path / "copy"], check=True)
    plan = finished.plan(where=tmp_path / "copy")
    assert plan.jobs == []


@pytest.mark.slow
def test_another_configuration_takes_the_runs_that_are_the_same(finished):
    run = "runs/lrb/topk/best/none/seed0"
    output = finished.snakemake(f"results/other/{run}/metrics.json", change={"name": "other"}).stdout
    assert "The files are in results/other" in output
    assert "report.html" not in output
    log = (finished.path / "logs/other/train/lrb.topk.best.none.seed0.log").read_text()
    assert f"results/tiny/{run} is a finished run with the same inputs; its files are copied" in log
    log = (finished.path / "logs/other/evaluate/lrb.topk.best.none.seed0.log").read_text()
    assert (
        f"results/tiny/{run}/metrics.json evaluates the same dictionary and is finished; its metrics are reused" in log
    )
    for file in ("model.safetensors", "history.csv", "metrics.json"):
        one, other = (finished.path / "results" / name / run / file for name in ("tiny", "other"))
        assert one.read_bytes() == other.read_bytes()
    one, other = (finished.path / "results" / name / run / "config.json" for name in ("tiny", "other"))
    assert json.loads(one.read_text()) == json.loads(other.read_text())
    assert (
        finished.plan().jobs == finished.plan(f"results/other/{run}/metrics.json", change={"name": "other"}).jobs == []
    )
    for folder in ("results/other", "logs/other"):
        shutil.rmtree(finished.path / folder)


@pytest.mark.slow
def test_two_processes_train_one_dictionary(checkout):
    checkout.snakemake(f"{RUN}/config.json", change={"processes": 2})
    facts = json.loads((checkout.path / RUN / "config.json").read_text())
    assert facts["processes"] == 2
    load_model(checkout.path / RUN / "model.safetensors")


def test_a_methods_hyperparameter_reruns_its_runs_and_what_depends_on_them(finished):
    another_lr = finished.plan(change={"methods": {"topk": {"lr": 0.001}}})
    assert another_lr.rules() == {"train", "evaluate", "make_table1", "report"}
    for rule in ("train", "evaluate"):
        assert len(another_lr.of(rule)) == 2
        assert all("method=topk" in wildcards for wildcards in another_lr.of(rule))


@pytest.mark.parametrize(
    ("stage", "first", "untouched"),
    [
        ("samples", "samples", {"feature_matrix", "anchors"}),
        ("train", "train", {"feature_matrix", "samples", "anchors"}),
        ("evaluate", "evaluate", {"feature_matrix", "samples", "anchors", "train"}),
        ("products", "make_table1", {"feature_matrix", "samples", "anchors", "train", "evaluate"}),
    ],
)
def test_a_raised_number_repeats_its_stage_and_what_reads_it(finished, stage, first, untouched):
    with edited(finished.path / "src/sdlcore/identity.py", f"\nNUMBERS[{stage!r}] += 1\n"):
        plan = finished.plan()
    assert first in plan.rules()
    assert "report" in plan.rules()
    assert not plan.rules() & untouched


@contextmanager
def without(path):
    """Remove a file, and restore it afterwards."""
    aside = path.rename(path.with_name(f"{path.name}.aside"))
    try:
        yield
    finally:
        aside.rename(path)


def test_a_lost_metrics_file_is_computed_again_with_what_depends_on_it(finished):
    with without(finished.path / RUN / "metrics.json"):
        plan, of_table = finished.plan(), finished.plan("table1")
    remade = ["evaluate", "make_table1"]
    assert sorted(rule for rule, _ in plan.jobs) == [*remade, "report"]
    assert sorted(rule for rule, _ in of_table.jobs) == [*remade, "table1"]


def test_a_lost_format_of_a_table_is_made_again_without_its_runs(finished):
    with without(finished.path / "results/tiny/tables/table1.tex"):
        plan = finished.plan()
    assert "make_table1" in plan.rules()
    assert not plan.rules() & {"train", "evaluate"}


@pytest.mark.slow
def test_solvers_leave_runs_and_a_table_like_any_other(finished):
    change = {"solvers": {"runs": {"lrb": {"methods": ["acs", "topk"]}}}}
    assert finished.plan("solvers", change=change).rules() == {"train", "evaluate", "make_solvers", "solvers"}
    finished.snakemake("solvers", change=change)
    assert finished.plan("solvers", change=change).jobs == []
    with (finished.path / "results/tiny/tables/solvers.csv").open() as file:
        acs, topk = csv.DictReader(file)
    assert (acs["method"], topk["method"]) == ("acs", "topk")
    assert 0 < int(acs["features_found"]) <= 32
    run = finished.path / "results/tiny/runs/lrb/acs/best/none/seed0"
    config = json.loads((run / "config.json").read_text())
    assert config["settings"]["solver"] == "acs"
    model = load_model(run / "model.safetensors")
    assert model.config.n_q == int(acs["features_found"])
    assert "solvers" in (finished.path / "results/tiny/tables/solvers.md").read_text().lower()
    plan = finished.plan("solvers", change=change | {"methods": {"acs": {"ridge": 0.01}}})
    assert plan.rules() == {"train", "evaluate", "make_solvers", "solvers"}
    # a training starts from a solver's dictionary
    run = "results/tiny/runs/lrb/topk_warm/best/none/seed0"
    warm = change | {"methods": {"topk_warm": {"like": "topk", "warm_start": "acs"}}}
    assert finished.plan(f"{run}/metrics.json", change=warm).rules() == {"train", "evaluate"}
    finished.snakemake(f"{run}/metrics.json", change=warm)
    assert json.loads((finished.path / run / "config.json").read_text())["identity"]["inputs"]["start"]


SWEEP = {"parameter": "n", "values": [12, 14], "paper": [1000, 1200]}
SWEPT = {
    "tables": {"table4": {"source": "lrb", "methods": ["topk"], "anchorings": ["none"], "seeds": [0], "sweep": SWEEP}}
}


def test_a_sweep_trains_what_is_new_in_it(finished):
    """The point with Table 1's value has its runs already; the other one is a bench of its own."""
    (trained,) = finished.plan("table4", change=SWEPT).of("train")
    assert "source=lrb_n_14" in trained


def test_a_method_of_a_plugin_is_the_only_one_that_is_trained(finished, tmp_path):
    """The example in examples/new_method, laid over the tiny configuration (a run of it is in test_plugins.py)."""
    shutil.copytree(REPOSITORY / "examples/new_method", tmp_path / "my own")
    # the same table with another method in it
    (tmp_path / "small.yaml").write_text("name: tiny\ntables: {table1: {anchorings: [none]}}\n")
    files = ["config/tiny.yaml", str(tmp_path / "my own/new_method.yaml"), str(tmp_path / "small.yaml")]
    done = snakemake("make_table1", "-n", "--cores", "2", "--configfile", *files, where=finished.path)
    plan = read_plan(done.stdout)
    assert plan.of("train") == plan.of("evaluate") == ["source=lrb, method=soft, protocol=best, anchoring=none, seed=0"]
    assert plan.rules() == {"train", "evaluate", "make_table1"}


def stop_by_a_damaged_store(checkout):
    store = checkout.path / "results/tiny/activations/lrb/seed0/train.h5"
    before, stamp = store.read_bytes(), store.stat()
    try:
        store.write_bytes(before[: len(before) // 3])
        done = checkout.snakemake(f"{RUN}/model.safetensors", "--forcerun", "train", check=False)
    finally:
        store.write_bytes(before)
        os.utime(store, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert done.returncode != 0
    assert "train.h5: is damaged or not an activation store" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("hooks", "warm"), [([], True), (["--no-hooks"], False)], ids=["forked", "of its own"])
def test_a_repeated_run_has_equal_bits_whether_its_processes_are_forked_or_not(finished, hooks, warm):
    """The same run gives the same model and metrics when requested again, even after a failure."""
    files = [finished.path / RUN / name for name in ("model.safetensors", "metrics.json")]
    before = [file.read_bytes() for file in files]
    if hooks:
        stop_by_a_damaged_store(finished)
    script = finished.path / "workflow/warm.py"
    text = script.read_text()
    script.write_text(text.replace("    server = socket.", "    print('warm', file=sys.stderr)\n    server = socket."))
    try:
        done = finished.snakemake(f"{RUN}/metrics.json", "--forcerun", "train", *hooks)
    finally:
        script.write_text(text)
    assert [file.read_bytes() for file in files] == before
    logs = [finished.path / f"logs/tiny/{rule}/lrb.topk.best.none.seed0.log" for rule in ("train", "evaluate")]
    assert [log.read_text().startswith("warm\n") for log in logs] == [warm, warm]
    assert not any("of its own" in log.read_text() for log in logs)
    assert "Open" not in done.stdout, "the report was left alone"
    assert finished.plan().jobs == []
