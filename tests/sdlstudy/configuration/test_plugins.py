"""Configurations that name plugins: plugins' settings are checked, swept and rejected like built-in ones."""

import re

import pytest

from sdlcore.model.activation import Activation
from sdlcore.model.activations.registry import activation
from sdlcore.solvers.registry import solver
from sdlcore.sources.plugins.settings import source
from sdlcore.storage.files import sha256_of
from sdlstudy.configuration.loading import ConfigError, configure, load_yaml, read_given
from sdlstudy.settings.cells import Cell, run_settings
from sdlstudy.settings.trees import merge
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples/new_method"
DEFAULT = load_yaml(REPOSITORY / "config/config.yaml")


pytestmark = pytest.mark.usefixtures("registry")


def study(**changed):
    example = read_given([EXAMPLE / "new_method.yaml"], {})
    return configure(merge(example, changed), DEFAULT)


def test_the_example_is_a_configuration_and_its_settings_are_those_of_its_runs():
    config = study()
    run = run_settings(config, Cell("lrb", "soft", "best", "none", 0))
    assert run.non_defaults() == {**run.non_defaults(), "activation": "soft_topk", "k": 16, "shrink": 0.05}
    assert run.plugins == {"soft_topk": sha256_of(EXAMPLE / "my_method.py")}
    assert "shrink" not in run_settings(config, Cell("lrb", "topk", "best", "none", 0)).to_dict()
    assert config.model_dump()["methods"]["soft"] == {"activation": "soft_topk", "k": 16, "shrink": 0.05}


def test_a_formula_of_its_own_takes_k_from_the_method_that_it_is_like_if_it_declares_k():
    @activation("keeps_k")
    class KeepsK(Activation):
        k: int

    @activation("keeps_another")
    class KeepsAnother(Activation):
        kept: int = 3

    methods = {name: {"like": "topk_real", "activation": name} for name in ("keeps_k", "keeps_another")}
    config = study(methods=methods)
    runs = {name: run_settings(config, Cell("lrb", name, "best", "none", 0)).to_dict() for name in methods}
    assert (runs["keeps_k"]["k"], runs["keeps_another"]["k"], runs["keeps_another"]["kept"]) == (8, None, 3)


def samples():
    @solver("samples")
    def samples(batches, config, generator, start=None, *, taken_from: int = 0):
        yield from ()


def noise_and_classes():
    @source("noise")
    def noise(split, rng, *, dimension: int = 4, n: int = 3): ...

    @source("classes", labels=True, target=True)
    def classes(split, rng): ...


def of_method(**settings):
    return {"methods": {"soft": settings}}


def of_source(**settings):
    return {"sources": {"plugin": {"mine": {"source": "noise", **settings}}}}


SWEEP = {"parameter": "shrink", "values": [0.05, 0.2], "paper": None}
TABLE = {"source": "lrb", "methods": ["soft"], "sweep": SWEEP, "anchorings": ["none"]}
SHRINK = "methods.soft.shrink: Input should be {}, found {}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_method(shrink=-1), SHRINK.format("greater than or equal to 0", -1)),
        (of_method(shrnk=1), "methods.soft.shrnk: unknown setting; did you mean shrink?"),
        (
            of_method(activation="soft_topj"),
            "no activation is called soft_topj; did you mean soft_topk?",
        ),
        (
            {"tables": {"own_shrink": TABLE | {"methods": ["topk"]}}},
            "shrink is a setting neither of sources.bench nor of topk",
        ),
        (
            {"methods": {"own": {"solver": "samples", "taken_form": 3}}},
            "methods.own: taken_form: unknown setting; did you mean taken_from",
        ),
        (of_source(dimensions=3), "sources.plugin.mine: dimensions: unknown setting; did you mean dimension?"),
        (of_source(source="nois"), "plugin.mine.source: no source is called nois; did you mean noise?"),
    ],
)
def test_what_plugins_may_not_have_is_refused_by_its_key(change, message):
    samples()
    noise_and_classes()
    with pytest.raises(ConfigError, match=re.escape(message)):
        study(**change)


def test_its_settings_are_swept_like_ours():
    config = study(tables={"own_shrink": TABLE})
    cells = config.tables["own_shrink"].cells(config)
    assert [cell.method for cell in cells] == ["soft", "soft_shrink_0_2"]
    assert [run_settings(config, cell).shrink for cell in cells] == [0.05, 0.2]
    at_default = study(
        methods={"plain": {"activation": "soft_topk", "k": 3}}, tables={"own_shrink": TABLE | {"methods": ["plain"]}}
    )
    assert [cell.method for cell in at_default.tables["own_shrink"].cells(at_default)] == [
        "plain_shrink_0_05",
        "plain_shrink_0_2",
    ]


def test_a_plugin_source_gets_a_table_with_anchors_if_it_has_classes():
    noise_and_classes()
    run = {"n_q": 64, "steps": 5, "batch_size": 32}
    mine = {"mine": {"source": "noise", "dimension": 6, "n": 9, "run": run}, "wider": {"like": "mine", "dimension": 8}}
    config = configure({"name": "own", "sources": {"plugin": {**mine, "sorted": {"source": "classes"}}}}, DEFAULT)
    assert config.sources.plugin["wider"].model_extra == {"dimension": 8, "n": 9}
    assert config.sources.plugin["mine"].model_dump()["dimension"] == 6
    assert not config.source("mine").is_labelled
    assert config.source("mine").n_features is None  # its setting n is not a bench's
    assert config.source("sorted").is_labelled
    assert config.source("sorted").n_sites == 2
    assert config.tables["own_mine"].anchorings == ["none"]
    assert "half_of_classes" in config.tables["own_sorted"].anchorings
