"""Recipes of docs/extending.md in a copy of the package: an activation, a loss term, a metric and a solver."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from safetensors.numpy import load_file

from sdlcore.data.references import References, save_references
from tests.conftest import REPOSITORY
from tests.stores import write_store
from tests.workflow.conftest import Checkout

NEW = {
    "model/activations/cut.py": '''"""Cut: the latents are the pre-activations above a threshold that is given."""

import torch
from torch import Tensor

from sdlcore.model.activation import Activation
from sdlcore.sparse.search import Above, Search
from sdlcore.sparse.support import Support


class Cut(Activation):
    """z H(z - c)."""

    def __init__(self, cut: float) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, pre: Tensor) -> Tensor:
        return torch.where(pre > self.cut, pre, 0.0)

    def search(self) -> Search:
        return Above(self.cut)

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return torch.where(pre > self.cut, pre, 0.0)


ACTIVATION = Cut
''',
    "model/losses/l2.py": '''"""The L2 penalty."""

from torch import Tensor

from sdlcore.model.losses.term import Term, TermInputs


def l2(inputs: TermInputs) -> Tensor:
    """E sum_i x_q,i^2."""
    return inputs.out.values.square().sum() / inputs.out.support.n_samples


TERM = Term("l2", l2, "l2")
''',
    "solvers/samples.py": '''"""Samples: the atoms are directions of random samples, the baseline of all solvers."""

from sdlcore.solvers.search import initial_atoms, read_batch, run_learner


def samples(batches, config, generator, start=None):
    """Yield samples of a batch, at unit norm."""
    atoms = initial_atoms(read_batch(batches, config.taken_from), config.n_atoms, generator, start)
    yield from run_learner(batches, config, atoms, lambda x: atoms)


SOLVER = samples
''',
}
"""New modules, and their content."""
INSERTED = [
    ("config.py", ']\n"""Each is a module in `sdlcore.model.activations`."""', ', "cut"'),
    (
        "config.py",
        '    decoder_norm: Literal["free", "unit"]',
        '    cut: Weight = 0.2\n    """Threshold of cut."""\n',
    ),
    ("config.py", "    l0: Weight", '    l2: Weight = 0.0\n    """Weight of the L2 penalty."""\n'),
    ("config.py", '    "l0": "l0",\n', '    "l2": "l2",\n'),
    ("solvers/settings.py", ']\n"""The built-in solvers; each is a module in `sdlcore.solvers`."""', ', "samples"'),
    (
        "solvers/settings.py",
        "    tolerance: ",
        '    taken_from: Annotated[int, Ge(0)] = 0\n    """The batch that samples are taken from."""\n',
    ),
    ("evaluation/samples.py", '        "dead_fraction": ', '        "alive": float(fired.sum()),\n'),
    (
        "evaluation/metrics.py",
        '    Metric("dead_fraction"',
        '    Metric("alive", "Alive", "number of latents that fire", "higher", EVERY_RUN, effect=True),\n',
    ),
]
"""Module, a text that it contains once, and the text to insert before."""
SETTINGS_OF_RUNS = f"""
import json
from pathlib import Path

from sdlstudy.configuration.loading import configure, load_yaml
from sdlstudy.settings.cells import run_settings

folder = Path({str(REPOSITORY / "config")!r})
default = load_yaml(folder / "config.yaml")
studies = [configure({{}}, default), configure(load_yaml(folder / "paper.yaml"), default)]
print(json.dumps([run_settings(study, cell).non_defaults() for study in studies for cell in study.all_cells()]))
"""
"""Prints the settings that identify each run of the default and the paper's configuration."""
METRICS = """
from docs.references import metrics_page
from sdlstudy.results.tables import effect_metrics, table_columns

assert {"alive_mean", "alive_std"} <= set(table_columns())
assert "alive" in effect_metrics()
print(metrics_page())
"""


class Copy(Checkout):
    """A copy of the package, and runs by its scripts."""

    def leave_run(self, name: str, settings: dict) -> tuple[Path, dict]:
        """Run the workflow's scripts that find a dictionary and evaluate it; return its folder and metrics."""
        folder = self.path / name
        settings_option = ["--settings", json.dumps(settings)]
        self.python("workflow/scripts/train.py", *settings_option, "--seed", 0, "--store", "train.h5", "--out", folder)
        judged = ["--cell", "trial", name, "best", "none", 0, "--model", folder / "model.safetensors"]
        judged += ["--trained-on", "train.h5", "--store", "test.h5", "--references", "references.safetensors"]
        self.python("workflow/scripts/evaluate.py", *settings_option, *judged, "--output", folder / "metrics.json")
        return folder, json.loads((folder / "metrics.json").read_text())["metrics"]


@pytest.mark.slow
def test_new_modules_and_their_settings_are_trained_with_and_evaluated_and_make_no_run_anew(tmp_path):
    copy = Copy(tmp_path / "copy")
    before = copy.python("-c", SETTINGS_OF_RUNS)
    for name, text in NEW.items():
        assert not (copy.path / "src/sdlcore" / name).exists()
        (copy.path / "src/sdlcore" / name).write_text(text)
    for name, place, text in INSERTED:
        module = copy.path / "src/sdlcore" / name
        source = module.read_text()
        assert source.count(place) == 1, f"{name} has changed: the recipe no longer fits"
        module.write_text(source.replace(place, text + place))
    assert copy.python("-c", SETTINGS_OF_RUNS) == before
    copy.python("-m", "sdlstudy.configuration.schema")
    schema = (copy.path / "config/schema/config.schema.yaml").read_text()
    for described in ("Threshold of cut.", "Weight of the L2 penalty.", "The batch that samples are taken from."):
        assert described in schema
    assert "| `alive` | number of latents that fire | higher | every run |" in copy.python("-c", METRICS)
    copy.python("-c", "import sdlcore as sdl; sdl.check_method('cut', cut=0.4)")

    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        x = rng.random((200, 6)) * (rng.random((200, 6)) < 0.3)
        write_store(copy.path / f"{part}.h5", x.astype(np.float32), features=scipy.sparse.csr_array(x))
    save_references(copy.path / "references.safetensors", References(np.eye(6, dtype=np.float32)), {})
    training = {"activation": "cut", "cut": 0.4, "l2": 0.5, "n_q": 8, "steps": 30, "batch_size": 64}
    folder, metrics = copy.leave_run("trained", training)
    with (folder / "history.csv").open() as file:
        *_, last = csv.DictReader(file)
    assert float(last["l2"]) > 0
    assert float(last["loss"]) == pytest.approx(float(last["reconstruction"]) + 0.5 * float(last["l2"]), rel=1e-5)
    assert 0 < metrics["alive"] <= 8
    # features of magnitude above 0.4, of six that are active three times in ten
    assert 0.6 < metrics["oracle_l0"] < 1.4
    solving = {"solver": "samples", "n_atoms": 20, "support": 4, "batch_size": 64, "max_steps": 3, "taken_from": 2}
    folder, metrics = copy.leave_run("solved", solving)
    atoms = load_file(folder / "model.safetensors")["W_dec"]
    assert atoms.shape == (20, 6)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-5)
    assert metrics["fvu"] < 1
