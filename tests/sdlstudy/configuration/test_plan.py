"""A plan counts the jobs of a configuration, with their disk and their time."""

import numpy as np
import pytest

from sdlstudy.configuration.plan import RATE, Shape, plan
from sdlstudy.settings.cells import run_settings
from tests.sdlstudy.products import studies

TABLE = {"source": "lrb", "methods": ["topk", "crosscoder"], "anchorings": ["none"]}
CONFIG = studies.alone(
    {"seeds": [0, 1], "tables": {"own_lrb": TABLE}, "solvers": {"runs": {"lrb": {"methods": ["acs"]}}}}
)


def planned(config, missing=lambda path: True, shapes=None):
    return plan(config, missing, shapes or {}).set_index("stage")


def test_every_store_run_and_evaluation_is_counted_once():
    jobs = planned(CONFIG)["jobs"].to_dict()
    assert jobs == {"activations of bench": 2, "trainings on bench": 4, "solvers": 2, "evaluations": 6}
    assert planned(CONFIG, lambda path: "seed1" in path)["left"].tolist() == [1, 2, 1, 3]
    # figure 4 requests runs without metrics
    default = studies.configuration()
    assert not any(cell.source == "lrb_3d" for cell in default.cells())
    stages = planned(default)["jobs"]
    assert stages["evaluations"] == len(default.cells())
    assert stages.filter(like="trainings").sum() + stages["solvers"] == len(default.all_cells())


def test_disk_and_hours_are_those_of_weights_and_samples():
    stages, bench = planned(CONFIG), CONFIG.sources.bench["lrb"]
    runs = [run_settings(CONFIG, cell) for cell in CONFIG.cells() if cell.method != "acs"]
    widths = {"sae": 2 * bench.n_p, "crosscoder": 2 * (bench.n_p + (bench.n_r or bench.n_p))}
    weights = [run.n_q * widths[run.pair] for run in runs]
    work = [size * run.steps * run.batch_size for size, run in zip(weights, runs, strict=True)]
    assert stages["GB"]["trainings on bench"] == pytest.approx(4e-9 * sum(weights))
    assert stages["hours"]["trainings on bench"] == pytest.approx(sum(work) / RATE / 3600)
    assert np.isnan(stages.loc["solvers", ["GB", "hours"]].astype(float)).all()


def test_shapes_of_models_tell_what_the_configuration_does_not():
    table = {"source": "smollm2", "methods": ["topk_real"], "anchorings": ["none"]}
    config = studies.alone({"seeds": [0], "tables": {"own_text": table}})
    assert np.isnan(planned(config)["GB"]["trainings on language"])
    rows = config.source("smollm2").rows
    stages = planned(config, shapes={"smollm2": Shape(rows, (576, 0))})
    assert stages["GB"]["activations of language"] == pytest.approx(sum(rows) * 576 * 2 / 1e9)
    assert stages["hours"]["trainings on language"] > 0
