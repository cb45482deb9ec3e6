"""A new table takes two files: its definition, and the configuration that requests it (docs/extending.md)."""

import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest

from tests.workflow.conftest import Checkout

RECIPE = {
    "workflow/sdlstudy/products/rare.py": '''"""The table of features that are rarely active."""

from sdlstudy.products.bench_table import BenchTable


class Rare(BenchTable):
    """Runs of the table of rare features; null for none."""

    keys = ("rare",)
    title = "Features that are rarely active"
    columns = {"fvu": "FVU", "dead_fraction": "dead latents"}
    caption = "Benches with rare features: means over seeds."
''',
    "config/trial.yaml": "name: trial\nrare: {runs: {lrb: {methods: [topk, acs], seeds: [7, 8]}}}\n",
}
"""File -> its content."""

MAKE = """
import json
from pathlib import Path

from sdlstudy.configuration.plan import plan
from sdlstudy.configuration.loading import configure, load_yaml
from sdlstudy.configuration.whole import Configuration
from sdlstudy.report.page import report
from sdlstudy.results.tables import read_csv


def jobs(config):
    return plan(config, lambda path: True, {}).set_index("stage")["jobs"].to_dict()


default = load_yaml("config/config.yaml")
without, config = configure({"name": "trial"}, default), configure(load_yaml("config/trial.yaml"), default)
files, rare = config.files(), config.products()["rare"]
for cell in rare.cells(config):
    metrics = {"fvu": 0.25 + (cell.seed - 7) / 2, "dead_fraction": 0.125 if cell.method == "topk" else 0.0}
    path = Path(files.metrics(cell))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"run": vars(cell), "metrics": metrics, "chance": {}}))
rare.make(files)
frames = {"rare": read_csv(files.table("rare"))}
Path("report.html").write_text(report(config, frames, {}))
said = [jobs(without), jobs(config), Configuration.model_json_schema()["properties"]["rare"]["description"]]
Path("said.json").write_text(json.dumps(said))
"""


@pytest.mark.slow
def test_a_table_of_one_file_is_planned_written_reported_and_described(tmp_path):
    checkout = Checkout(tmp_path / "sdl core")
    assert len(RECIPE) <= 2
    for name, text in RECIPE.items():
        assert not (checkout.path / name).exists(), f"{name} is there: the recipe no longer fits"
        (checkout.path / name).write_text(text)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(checkout.path / folder) for folder in ("src", "workflow"))
    }
    command = [sys.executable, "-c", MAKE]
    done = subprocess.run(command, cwd=checkout.path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    without, planned, described = json.loads((checkout.path / "said.json").read_text())
    new = {stage: jobs - without[stage] for stage, jobs in planned.items() if jobs != without[stage]}
    assert new == {"activations of bench": 2, "trainings on bench": 2, "solvers": 2, "evaluations": 4}
    rows = pd.read_csv(checkout.path / "results/trial/tables/rare.csv")
    assert list(rows) == ["source", "method", "seed", "fvu", "dead_fraction"]
    assert rows["fvu"].tolist() == [0.25, 0.75] * 2
    assert (checkout.path / "results/trial/tables/rare.md").read_text().splitlines() == [
        "Benches with rare features: means over seeds.",
        "",
        "| source   | method   |   seeds |   FVU |   dead latents |",
        "|:---------|:---------|--------:|------:|---------------:|",
        "| lrb      | TopK SAE |       2 | 0.500 |          0.125 |",
        "| lrb      | ACS      |       2 | 0.500 |          0.000 |",
    ]
    section = (checkout.path / "report.html").read_text().partition('<section id="rare">')[2].partition("</section>")[0]
    assert "<h2>Features that are rarely active</h2>" in section
    cells = re.findall("<td>(.*?)</td>", section)
    assert cells[:5] == ["lrb", "TopK SAE", "2", "0.500", "0.125"]
    assert described == "Runs of the table of rare features; null for none."
    assert "\nrare (Features that are rarely active)\n" in checkout.snakemake("--list", base="trial").stdout
