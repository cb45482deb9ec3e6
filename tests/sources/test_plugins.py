"""Sources of plugins: their blocks fill stores, up to the number of samples in the configuration."""

import json

import h5py
import numpy as np
import pytest

from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import means_of_classes
from sdlcore.errors import PluginError
from sdlcore.sources.plugins.filling import Rows, write_plugin_stores
from sdlcore.sources.plugins.settings import PluginSource, source

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def noise():
    @source("noise")
    def noise(split, rng, *, dimension: int = 4, scale: float = 1.0):
        for _ in range(10):
            yield scale * rng.standard_normal((30, dimension))


@pytest.fixture
def classes():
    @source("classes", target=True, labels=True)
    def classes(split, rng):
        x = rng.standard_normal((20, 3)).astype(np.float32)
        yield Rows(x, -x, np.arange(20) % 2)


def stores(tmp_path, **settings):
    paths = [tmp_path / "train.h5", tmp_path / "test.h5"]
    write_plugin_stores(PluginSource.from_dict(settings), *paths)
    return [ActivationStore(path) for path in paths]


def test_stores_have_the_configured_number_of_samples(noise, tmp_path):
    train, test = stores(tmp_path, source="noise", train_samples=100, scale=3.0)
    assert (train.rows, test.rows, train.widths) == (100, 300, (4,))
    assert 2 < train.read("input").std() < 4
    assert not np.isin(test.read("input")[:, 0], train.read("input")[:, 0]).any()
    provenance = json.loads(h5py.File(tmp_path / "train.h5").attrs["provenance"])
    assert provenance["source"]["scale"] == 3.0


def test_blocks_may_have_a_target_and_classes(classes, tmp_path):
    train, _ = stores(tmp_path, source="classes")
    assert (train.read("target") == -train.read("input")).all()
    assert train.read("labels").tolist() == [0, 1] * 10


def test_classes_have_means_by_the_names_that_are_declared_or_their_numbers(classes, tmp_path):
    @source("named", labels=["cat", "dog", "owl"])
    def named(split, rng):
        yield Rows(rng.standard_normal((20, 3)), labels=np.arange(20) % 2)

    for name, expected in (("classes", ["0", "1"]), ("named", ["cat", "dog", "owl"])):
        train, _ = stores(tmp_path, source=name)
        references, described = means_of_classes(train)
        assert references.class_names == list(described["name"]) == expected
        assert references.classes.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("declared", "blocks", "message"),
    [
        ({}, [np.ones(3)], r"input has shape \(3,\), expected samples x dimension"),
        ({}, [np.full((2, 3), np.nan)], "input: row 0 contains NaN"),
        ({}, [np.ones((3, 2))], "source own: 3 samples for train, expected train_samples = 4"),
        (
            {"labels": True},
            [np.ones((3, 2))],
            "source own: declares target False and labels True, but yields target False and labels False",
        ),
        (
            {"labels": ["cat"]},
            [Rows(np.ones((4, 2)), labels=np.arange(4) % 3)],
            "source own: label 2, but it",
        ),
    ],
)
def test_what_is_no_block_of_samples_is_refused(tmp_path, declared, blocks, message):
    @source("own", **declared)
    def blocks_of(split, rng):
        return blocks

    with pytest.raises(ValueError, match=message):
        stores(tmp_path, source="own", train_samples=4)
    assert not list(tmp_path.glob("*.h5"))


def declare(settings):
    @source("own")
    def blocks_of(split, rng, *, dtype: str = "x"): ...


@pytest.mark.parametrize(
    ("call", "settings", "message"),
    [
        (
            PluginSource.from_dict,
            {"source": "noise", "sclae": 1},
            "^sclae: unknown setting; did you mean scale",
        ),
        (declare, {}, "source own: sdlcore has a setting dtype"),
    ],
)
def test_its_settings_are_checked(noise, call, settings, message):
    with pytest.raises((ValueError, PluginError), match=message):
        call(settings)
