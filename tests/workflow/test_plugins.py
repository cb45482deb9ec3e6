"""A plugin beside a configuration adds its method as a row of Table 1, and retrains nothing else."""

import shutil

import pandas as pd
import pytest
import yaml

from sdlcore.data.reading import ActivationStore
from tests.conftest import REPOSITORY
from tests.workflow.conftest import Checkout, read_plan, snakemake

pytestmark = pytest.mark.slow  # a plan of the example is in test_pipeline.py
EXAMPLE = REPOSITORY / "examples/new_method"
# only Table 1, with two runs
SMALL = {"tables": {"table1": {"methods": ["topk"], "anchorings": ["none"]}}}
SOFT = ["source=lrb, method=soft, protocol=best, anchoring=none, seed=0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkout with the finished Table 1 of the tiny configuration, and the example in a folder of its own."""
    folder = tmp_path_factory.mktemp("plugins")
    checkout = Checkout(folder / "sdl core")
    checkout.snakemake("make_table1", change=SMALL)
    shutil.copytree(EXAMPLE, folder / "my own")
    return checkout


@pytest.fixture(scope="module")
def added(trained):
    """The same, with the example's own table."""
    with_example(trained)
    return trained


def with_example(checkout, *arguments, **change):
    """Run Snakemake on the example, laid over the tiny configuration."""
    small = {"name": "new_method", "tables": {"table1": {"anchorings": ["none"]}}}
    (checkout.path / "small.yaml").write_text(yaml.safe_dump(small | change))
    files = ["config/tiny.yaml", str(checkout.path.parent / "my own/new_method.yaml"), "small.yaml"]
    return snakemake("make_table1", "--cores", "2", *arguments, "--configfile", *files, where=checkout.path).stdout


def plan(checkout, **change):
    return read_plan(with_example(checkout, "-n", **change))


def test_it_is_a_row_of_table_1_and_finished_runs_of_others_are_copied(added):
    table = pd.read_csv(added.path / "results/new_method/tables/table1.csv")
    rows = table[table["method"] == "soft"]
    assert len(rows) == 1
    assert rows["fvu_mean"].notna().all()
    logs = {path.name: path.read_text() for path in (added.path / "logs/new_method/train").glob("*.log")}
    copied = {name.split(".")[1] for name, text in logs.items() if "is a finished run with the same inputs" in text}
    assert copied == {"topk"}
    assert not plan(added).jobs


def test_an_edit_of_the_plugin_repeats_its_runs_alone(added):
    module = added.path.parent / "my own/my_method.py"
    before = module.read_text()
    module.write_text(before.replace("clamp(min=0)", "clamp(min=1e-6)"))
    edited = plan(added)
    module.write_text(before)
    assert edited.of("train") == edited.of("evaluate") == SOFT
    assert plan(added, methods={"soft": {"shrink": 0.2}}).of("train") == SOFT


def test_a_metric_evaluates_the_runs_of_its_configuration_anew_and_trains_none(added):
    (added.path / "measuring.py").write_text(
        "from sdlcore.evaluation.metrics import EVERY_RUN\n"
        "from sdlcore.evaluation.plugin_metrics import metric\n"
        "metric('own', 'Own', 'one', runs=EVERY_RUN)(lambda judged: 1.0)\n"
    )
    measured = plan(added, plugins=["../my own/my_method.py", "measuring"])
    assert measured.rules() == {"evaluate", "make_table1"}
    assert len(measured.of("evaluate")) == 2
    assert not added.plan("make_table1", change=SMALL).jobs


NOISE = """
from sdlcore.sources.plugins.settings import source


@source("noise")
def noise(split, rng, *, dimension: int = 4):
    while True:
        yield rng.standard_normal((100, dimension))
"""


def test_a_source_is_planned_filled_trained_on_and_repeated_with_its_plugin(trained):
    (trained.path / "noise_plugin.py").write_text(NOISE)
    settings = {"source": "noise", "dimension": 6, "train_samples": 700, "test_samples": 150}
    run = {"n_q": 32, "steps": 5, "batch_size": 64}
    change = {"name": "noisy", "plugins": ["noise_plugin"], "sources": {"plugin": {"mine": settings | {"run": run}}}}
    metrics = "results/noisy/runs/mine/topk_real/best/none/seed0/metrics.json"
    planned = trained.plan(change=change)
    assert planned.of("given_activations") == ["source=mine"]
    assert planned.of("make_own_mine")
    trained.snakemake(metrics, change=change)
    with ActivationStore(trained.path / "results/noisy/activations/mine/train.h5") as store:
        assert store.read("input").shape == (700, 6)
    assert (trained.path / metrics).exists()
    assert not trained.plan(metrics, change=change).jobs
    (trained.path / "noise_plugin.py").write_text(NOISE.replace("100", "50"))
    assert trained.plan(metrics, change=change).rules() == {"given_activations", "train", "evaluate"}
