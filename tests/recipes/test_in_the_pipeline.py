"""Recipes of docs/extending.md in a copy of the pipeline: a source of four files, and a table of one."""

import re

import pandas as pd
import pytest

from sdlcore.data.reading import ActivationStore
from tests.workflow.conftest import Checkout

NEW = {
    "src/sdlcore/sources/noise.py": '''"""Fill stores with Gaussian noise."""

from pathlib import Path

from sdlcore.data.writing import resume_store
from sdlcore.random_streams import stream
from sdlcore.settings import Settings, Total


class NoiseSource(Settings):
    """Gaussian noise."""

    dimension: Total
    """Of the samples."""
    train_samples: Total = 1000
    """Samples of the training store."""


def write_noise_stores(source: NoiseSource, train: Path, test: Path) -> None:
    """Write a training store, and a tenth of its samples as evaluation store."""
    for path, rows in ((train, source.train_samples), (test, source.train_samples // 10)):
        with resume_store(path, {"kind": "noise"}, "float32") as writer:
            if writer.rows < rows:
                noise = stream(0, path.stem).standard_normal((rows, source.dimension)).astype("float32")
                writer.append(noise[writer.rows :])
''',
    "workflow/scripts/noise.py": '''"""Fill stores with Gaussian noise."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.sources.noise import NoiseSource, write_noise_stores


def main(*, source: NoiseSource, train: Path, test: Path) -> None:
    write_noise_stores(source, train, test)


if __name__ == "__main__":
    cli(main)
''',
    "workflow/rules/noise.smk": """rule noise:
    output:
        train="<results>/activations/{source}/train.h5",
        test="<results>/activations/{source}/test.h5",
    log:
        "<logs>/noise/{source}.log",
    wildcard_constraints:
        source=names_of("noise"),
    conda:
        ENVIRONMENT
    params:
        source=lambda wildcards: as_json(settings_for(NoiseSource, wildcards)),
        number=NUMBERS["activations"],
    shell:
        'python "$SCRIPTS"/noise.py --source {params.source:q} --train {output.train:q} --test {output.test:q}'
        " > {log:q} 2>&1"


from sdlcore.sources.noise import NoiseSource
""",
    "workflow/sdlstudy/products/rare.py": '''"""The table of features that are rarely active."""

from sdlstudy.products.bench_table import BenchTable


class Rare(BenchTable):
    """Runs of the table of rare features; null for none."""

    keys = ("rare",)
    title = "Features that are rarely active"
    columns = {"fvu": "FVU", "dead_fraction": "dead latents"}
    caption = "Benches with rare features: means over seeds."
''',
    "config/trial.yaml": """name: trial
seeds: [0]
sources: {noise: {mine: {dimension: 6, run: {n_q: 64, steps: 5, batch_size: 32}}}}
rare: {runs: {lrb: {methods: [topk, acs], seeds: [7, 8]}}}
""",
}
"""New files, and their content."""
KINDS = "workflow/sdlstudy/settings/sources.py"
RECIPE = {
    "class Sources(Settings):": '''class Noise(Source, NoiseSource):
    """Gaussian noise."""

    kind = "noise"

    @property
    def described(self) -> str:
        return f"noise of {self.dimension} dimensions"

    @property
    def rows(self) -> tuple[int | None, int | None]:
        return self.train_samples, self.train_samples // 10


''',
    "    file: dict[Identifier, File] = {}": '''    noise: dict[Identifier, Noise] = {}
    """Gaussian noise."""
''',
    "from sdlstudy.settings.fields import": "from sdlcore.sources.noise import NoiseSource\n",
}
"""Text in the file of kinds -> the text to insert before it."""
MAKE = """
import json
from pathlib import Path

from sdlstudy.configuration.loading import configure, load_yaml
from sdlstudy.report.page import report
from sdlstudy.results.tables import read_csv

config = configure(load_yaml("config/trial.yaml"), load_yaml("config/config.yaml"))
files, rare = config.files(), config.products()["rare"]
for cell in rare.cells(config):
    metrics = {"fvu": 0.25 + (cell.seed - 7) / 2, "dead_fraction": 0.125 if cell.method == "topk" else 0.0}
    path = Path(files.metrics(cell))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"run": vars(cell), "metrics": metrics, "chance": {}}))
rare.make(files)
Path("report.html").write_text(report(config, {"rare": read_csv(files.table("rare"))}, {}))
"""
"""Writes the table and a report from metrics that no run made."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("recipes") / "sdl core")
    for name, text in NEW.items():
        assert not (checkout.path / name).exists(), f"{name} is there: the recipe no longer fits"
        (checkout.path / name).write_text(text)
    kinds = (checkout.path / KINDS).read_text()
    for place, text in RECIPE.items():
        assert kinds.count(place) == 1, f"{KINDS} has changed: the recipe no longer fits"
        kinds = kinds.replace(place, text + place)
    (checkout.path / KINDS).write_text(kinds)
    return checkout


@pytest.mark.slow
def test_a_source_of_four_files_is_checked_planned_extracted_and_trained_on(checkout):
    plan = checkout.plan(base="trial")
    assert plan.of("noise") == ["source=mine"]
    assert set(plan.of("make_own_mine")) == {""}
    run = "results/trial/runs/mine/topk/best/none/seed0"
    checkout.snakemake(f"{run}/metrics.json", base="trial")
    with ActivationStore(checkout.path / "results/trial/activations/mine/train.h5") as store:
        assert store.read("input").shape == (1000, 6)
    assert (checkout.path / run / "metrics.json").exists()
    wrong = {"sources": {"noise": {"mine": {"dimension": 0}}}}
    assert (
        "sources.noise.mine.dimension: Input should be greater than or equal to 1, found 0"
        in checkout.snakemake("-n", base="trial", change=wrong, check=False).stdout
    )


@pytest.mark.slow
def test_a_table_of_one_file_is_planned_written_and_reported(checkout):
    plan = checkout.plan("rare", base="trial")
    assert sorted({job.partition("method=")[2].partition(",")[0] for job in plan.of("evaluate")}) == ["acs", "topk"]
    assert len(plan.of("evaluate")) == 4
    checkout.python("-c", MAKE)
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
    assert "\nrare (Features that are rarely active)\n" in checkout.snakemake("--list", base="trial").stdout
