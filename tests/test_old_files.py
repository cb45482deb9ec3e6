"""Files, configurations and plugins of earlier commits still work (tests/fixtures, CONTRIBUTING.md)."""

import pkgutil
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import sdlcore as sdl
from sdlcore.data.anchors import load_anchors
from sdlcore.data.reading import open_checked, verify
from sdlcore.data.resumable import Progress, resume_store
from sdlcore.plugins.importing import load_plugins
from sdlcore.study.configuration.loading import configure, load_yaml, read_given
from tests.conftest import REPOSITORY
from tests.stores import contents

OLD = Path(__file__).parent / "fixtures/447770949"
"""What commit 447770949 (28 November 2026) wrote; tests/fixtures/write.py writes it anew."""
EXPECTED = dict(np.load(OLD / "expected.npz"))
DICTIONARIES = sorted(path.name for path in (OLD / "dictionaries").iterdir())
LAID_OVER = {
    "dbksvd": "config",
    "denoised": "harder",
    "encoders": "config",
    "law": "paper",
    "synthsaebench_causes": "synthsaebench",
    "synthsaebench_m": "synthsaebench",
}
"""Configurations that are given after another one."""


PLUGINS = sorted((OLD / "plugins").glob("*.py"))


@pytest.fixture(autouse=True)
def notices(registry):
    """Import the plugins, forget them afterwards, and return the warnings of the import."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        load_plugins(map(str, PLUGINS))
    return [str(one.message) for one in found]


def samples(dictionary):
    return [EXPECTED["x"], EXPECTED["target"]] if dictionary.pair == "crosscoder" else EXPECTED["x"]


def assert_equal_as_sums(found, expected, terms):
    """Compare sums of float32 products that may be added in another order, by another processor or library.

    A sum of n terms is off by at most (n + 1) eps times the sum of their sizes (Higham 2002, section 3.1), and so two
    such sums differ by twice that. Inputs, weights and latents are below 8 here, so a term's size is below 64.
    """
    np.testing.assert_allclose(found, expected, rtol=0, atol=2 * (terms + 1) * np.finfo(np.float32).eps * 64 * terms)


@pytest.mark.parametrize("name", DICTIONARIES)
def test_old_dictionaries_open_and_compute_the_same(name):
    dictionary = sdl.load(OLD / "dictionaries" / name)
    latents = dictionary.encode(samples(dictionary))
    n_p, n_q = dictionary.W_enc.shape[1], dictionary.n_q
    assert_equal_as_sums(latents, EXPECTED[f"{name}/latents"], n_p)
    assert_equal_as_sums(dictionary.decode(EXPECTED[f"{name}/latents"]), EXPECTED[f"{name}/decoded"], n_q)
    assert_equal_as_sums(dictionary.reconstruct(samples(dictionary)), EXPECTED[f"{name}/reconstructed"], n_p + n_q)
    assert dictionary.provenance["versions"]["python"]
    assert dictionary.history


def test_an_old_anchored_dictionary_has_its_anchors():
    anchors = sdl.load(OLD / "dictionaries/anchored").anchors
    assert anchors.feature.tolist() == [2, 5, 7]
    np.testing.assert_array_equal(anchors.w_p, load_anchors(OLD / "anchors.safetensors").w_p)


@pytest.mark.parametrize("path", ["topk.safetensors", "saelens", "sparsify"])
def test_old_single_files_and_exports_open(path):
    opened = sdl.load(OLD / path)
    assert_equal_as_sums(opened.encode(EXPECTED["x"]), EXPECTED["topk/latents"], opened.W_enc.shape[1])


def test_an_old_run_opens_and_its_folder_is_taken_as_finished(tmp_path):
    shutil.copytree(OLD / "run", tmp_path / "run")
    opened = sdl.load(tmp_path / "run")
    assert_equal_as_sums(opened.encode(EXPECTED["x"]), EXPECTED["topk/latents"], opened.W_enc.shape[1])
    with open_checked(OLD / "created.h5") as store:
        x = store.read("input", 0, store.rows)
    model = (tmp_path / "run/model.safetensors").read_bytes()
    settings = {"n_q": 12, "steps": 6, "batch_size": 16, "log_every": 3, "progress": False, "device": "cpu"}
    # the defaults of that commit
    settings |= {"normalise": False, "bias": False, "resample_every": None, "resample_until": 0.8}
    again = sdl.fit(x, activation="topk", k=3, out=tmp_path / "run", **settings)
    assert (tmp_path / "run/model.safetensors").read_bytes() == model
    np.testing.assert_array_equal(again.W_enc, opened.W_enc)


@pytest.mark.parametrize(("name", "precision"), [("created", 0), ("resumed", 2.0**-11)])
def test_old_stores_open(name, precision):
    verify(OLD / f"{name}.h5")
    with open_checked(OLD / f"{name}.h5") as store:
        x, target = (store.read(column, 0, len(EXPECTED["x"])) for column in ("input", "target"))
        assert store.class_names() == ["a", "b", "c"]
        assert set(store.read("labels", 0, store.rows).tolist()) == {0, 1, 2}
        assert store.provenance == {"what": "a fixture"}
    # float16 has 11 significant bits, so rounding changes a number by at most 2^-12 of it, or 2^-25 near zero
    np.testing.assert_allclose(x, EXPECTED["x"], rtol=precision, atol=precision * 2.0**-13)
    np.testing.assert_allclose(target, EXPECTED["target"], rtol=precision, atol=precision * 2.0**-13)


def test_an_old_unfinished_store_is_resumed_to_the_same_content(tmp_path):
    shutil.copytree(OLD / "unfinished", tmp_path, dirs_exist_ok=True)
    with open_checked(OLD / "created.h5") as created:
        rest = {column: created.read(column, 32) for column in ("input", "target", "labels")}
    with resume_store(tmp_path / "store.h5", {"what": "a fixture"}, class_names=["a", "b", "c"]) as store:
        assert (store.rows, store.state(Progress())) == (32, Progress(1))
        store.append(**rest)
    assert contents(tmp_path / "store.h5") == contents(OLD / "resumed.h5")


def configuration_files():
    paths = [*(OLD / "configurations").glob("*.yaml"), *(OLD / "own_configurations").glob("*.yaml")]
    return sorted([*paths, OLD / "plugins/new_method.yaml"])


@pytest.mark.parametrize("path", configuration_files(), ids=lambda path: path.stem)
def test_old_configurations_are_valid(path):
    under = LAID_OVER.get(path.stem)
    paths = [path.with_stem(under), path] if under else [path]
    default = load_yaml(REPOSITORY / "config/config.yaml")
    assert configure(read_given(paths, {}), default).name


def test_an_old_default_is_valid_under_its_own_files():
    default = load_yaml(OLD / "configurations/config.yaml")
    for protocol in default["protocols"].values():
        protocol["run"]["resample_every"] = None  # the default of that commit, which figure6 needs
    assert configure({}, default).name == "quick"


@pytest.mark.parametrize(
    "path",
    [
        "sdlcore.data.parts.resume_store",
        "sdlcore.data.parts.Progress",
        "sdlcore.data.reading.open_checked",
        "sdlcore.data.reading.verify",
        "sdlcore.data.shards.shard_bounds",
        "sdlcore.data.shards.unite",
        "sdlcore.data.writing.create_store",
        "sdlcore.sparse.support.Support",
        "sdlcore.solvers.search.read_batch",
    ],
)
@pytest.mark.filterwarnings("ignore:sdlcore.data.parts:FutureWarning")
def test_what_old_pages_imported_is_there(path):
    assert callable(pkgutil.resolve_name(path))


def test_old_plugins_train_and_judge(notices):
    assert notices == [
        "sdlcore.losses.term.Given is deprecated: write sdlcore.TermInputs",
        "sdlcore.Given is deprecated: write sdlcore.TermInputs",
        *2 * ["sdlcore.model.support.Support is deprecated: write sdlcore.sparse.support.Support"],
    ]
    x = np.tile(EXPECTED["x"], (8, 1))
    settings = {"n_q": 12, "steps": 2, "batch_size": 16, "progress": False, "device": "cpu"}
    dictionary = sdl.fit(x, activation="soft_topk", k=3, shrink=0.05, power=0.1, everything=1.0, **settings)
    assert {"power", "everything"} <= dictionary.history[-1].keys()
    assert np.isfinite(sdl.evaluate(dictionary, x=x)["kurtosis"])
    assert sdl.fit(x, activation="near_largest", fraction=0.5, l1=0.01, **settings).encode(x).any()
    solved = sdl.fit(x, solver="samples", n_atoms=8, support=2, batch_size=32, progress=False, device="cpu")
    assert solved.n_q == 8
