"""A new source takes four files: the code for its stores, its kind, a script and a rule."""

import pytest
import yaml

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
MINE = {
    "sources": {"noise": {"mine": {"dimension": 6, "run": {"n_q": 64, "steps": 5, "batch_size": 32}}}},
    "name": "trial",
    "seeds": [0],
}


@pytest.mark.slow
def test_a_source_of_four_files_is_checked_planned_extracted_and_trained_on(tmp_path):
    checkout = Checkout(tmp_path / "sdl core")
    assert len([*NEW, KINDS]) <= 4
    for name, text in NEW.items():
        assert not (checkout.path / name).exists(), f"{name} is there: the recipe no longer fits"
        (checkout.path / name).write_text(text)
    kinds = (checkout.path / KINDS).read_text()
    for place, text in RECIPE.items():
        assert kinds.count(place) == 1, f"{KINDS} has changed: the recipe no longer fits"
        kinds = kinds.replace(place, text + place)
    (checkout.path / KINDS).write_text(kinds)

    (checkout.path / "config/trial.yaml").write_text(yaml.safe_dump(MINE))
    plan = checkout.plan(base="trial")
    assert plan.of("noise") == ["source=mine"]
    assert set(plan.of("make_own_mine")) == {""}
    assert all(wildcards.startswith("source=mine,") for wildcards in plan.of("train"))
    run = "results/trial/runs/mine/topk/best/none/seed0"
    checkout.snakemake(f"{run}/metrics.json", base="trial")
    with ActivationStore(checkout.path / "results/trial/activations/mine/train.h5") as store:
        assert store.rows == 1000
        assert store.read("input").shape == (1000, 6)
    assert (checkout.path / run / "metrics.json").exists()

    wrong = {"sources": {"noise": {"mine": {"dimension": 0}}}}
    assert (
        "sources.noise.mine.dimension: Input should be greater than or equal to 1, found 0"
        in checkout.snakemake("-n", base="trial", change=wrong, check=False).stdout
    )
