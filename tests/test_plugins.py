"""The registry of plugins: names, settings, and how plugins are imported."""

import inspect
from importlib import metadata
from typing import Annotated, ClassVar, Literal

import numpy as np
import pytest
import torch
from annotated_types import Ge
from torch import Tensor

import sdlcore as sdl
from sdlcore.config import FIT, Config, ModelConfig
from sdlcore.errors import PluginError
from sdlcore.model.activations.jumprelu import JumpReLU
from sdlcore.model.activations.registry import activation, make_sigma
from sdlcore.model.activations.topk import TopK
from sdlcore.plugins import registry as plugins
from sdlcore.plugins.importing import load_plugins, locate_plugin
from sdlcore.plugins.registry import extensions
from sdlcore.storage.files import sha256_of
from tests.refusals import no_warning

PLUGIN = '''"""A plugin."""

from sdlcore.model.activations.registry import activation
from sdlcore.model.activations.topk import TopK


@activation("{name}")
class Own(TopK):
    pass
'''


pytestmark = pytest.mark.usefixtures("registry")


def soft():
    @activation("soft")
    class Soft(TopK):
        """A class whose fields are settings."""

        called: ClassVar[int] = 3
        buffer: Tensor
        shrink: Annotated[float, Ge(0)] = 0.1
        sizes: tuple[int, ...] = (1, 2)
        mode: Literal["fast", "slow"] = "fast"
        most: int | None = None

    return Soft


def test_annotated_fields_are_settings_of_runs_and_attributes_of_the_activation():
    soft()
    config = Config.from_dict({"activation": "soft", "k": 3, "n_q": 8, "shrink": 1, "sizes": [4]})
    assert config.model_extra == {"shrink": 1, "sizes": (4,), "mode": "fast", "most": None}
    assert config.non_defaults()["shrink"] == config.to_dict()["shrink"] == 1
    assert Config.from_dict(config.to_dict()) == config
    assert config.selects
    sigma = make_sigma(config.model)
    assert (sigma.k, sigma.shrink, sigma.sizes, sigma.mode) == (3, 1, (4,), "fast")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shrink": -1, "mode": "fats"}, "^shrink: Input .* 0, found -1; mode: .*, found 'fats'; did you mean fast"),
        ({"sizes": [1.5]}, r"^sizes\.0: Input should be a valid integer"),
        ({"shrnk": 1}, "^shrnk: unknown setting; did you mean shrink"),
        ({"activation": "sotf"}, "no activation is called sotf; did you mean soft"),
        ({"k": None}, "activation soft needs k"),
        ({"activation": "without_default"}, "^width: Field required"),
    ],
)
def test_they_are_checked_as_ours_are(settings, message):
    soft()
    activation("without_default")(own_topk(__annotations__={"width": int}))
    with pytest.raises(ValueError, match=message):
        Config.from_dict({"activation": "soft", "k": 3, "n_q": 8, **settings})


class KeepsK(sdl.Activation):
    """The k largest, by a formula alone."""

    k: int
    shrink: float = 0.1

    def forward(self, pre):
        values, places = pre.topk(self.k)
        return torch.zeros_like(pre).scatter(1, places, (values - self.shrink).clamp(min=0))


class ShrunkTopK(TopK):
    """The same, with the search of TopK."""

    shrink: float = 0.1

    def values(self, pre, support):
        return (super().values(pre, support) - self.shrink).clamp(min=0)


def test_a_formula_that_declares_k_has_the_built_in_setting():
    activation("keeps_k")(KeepsK)
    config = ModelConfig.from_dict({"activation": "keeps_k", "k": 3, "shrink": 0.2})
    sigma = make_sigma(config)
    assert (sigma.k, sigma.shrink, config.model_extra) == (3, 0.2, {"shrink": 0.2})
    with pytest.raises(ValueError, match="activation keeps_k needs k"):
        ModelConfig.from_dict({"activation": "keeps_k"})


def test_a_search_that_a_class_keeps_follows_its_k():
    class Kept(sdl.Selecting):
        def __init__(self, k):
            super().__init__(k)
            self.kept, self.wider = sdl.LargestPerBatch(k), sdl.LargestPerSample(2 * k)

    sigma = Kept(9)
    sigma.set_k(3)
    assert (sigma.k, sigma.kept.k, sigma.wider.k) == (3, 3, 18)


@pytest.mark.parametrize("more", [{}, {"k_start": 9}, {"prefixes": [16, 64]}, {"resample_every": 5, "dead_after": 300}])
def test_a_formula_that_declares_k_trains_as_a_subclass_of_topk(tmp_path, more):
    activation("keeps_k")(KeepsK)
    activation("shrunk")(ShrunkTopK)
    x = np.random.default_rng(0).standard_normal((1000, 16), dtype=np.float32)
    settings = {"k": 3, "n_q": 64, "steps": 20, "batch_size": 100, "progress": False, "seed": 0, **more}
    formula, searched = (sdl.fit(x, activation=name, **settings) for name in ("keeps_k", "shrunk"))
    assert [row["l0"] for row in formula.history] == [row["l0"] for row in searched.history]
    assert torch.allclose(formula.W_dec, searched.W_dec, atol=1e-4)
    assert (formula.encode(x) > 0).sum(1).max() == 3
    formula.save(tmp_path / "formula.safetensors")
    assert np.array_equal(sdl.load(tmp_path / "formula.safetensors").encode(x), formula.encode(x))


def test_a_class_has_the_settings_of_its_base_with_its_own_defaults_and_no_constants():
    base = subclass_of_topk(__annotations__={"shrink": float}, shrink=0.1, DECAY=0.5, _seen=0)
    activation("child")(type("Child", (base,), {"__module__": __name__, "shrink": 0.3}))
    assert ModelConfig.from_dict({"activation": "own", "k": 1}).model_extra == {"shrink": 0.1}
    assert ModelConfig.from_dict({"activation": "child", "k": 1}).model_extra == {"shrink": 0.3}


def test_a_run_has_the_settings_of_the_built_in_activation_that_a_plugin_extends():
    activation("own_jump")(type("OwnJump", (JumpReLU,), {"__module__": __name__}))
    narrow, wide = (Config.from_dict({"activation": "own_jump", "bandwidth": width}) for width in (0.3, 0.5))
    assert narrow.non_defaults() != wide.non_defaults()
    assert make_sigma(narrow.model).relative_bandwidth == 0.3


def test_a_run_without_the_plugin_has_none_of_its_settings():
    before = Config.from_dict({"activation": "topk", "k": 3})
    soft()
    assert Config.from_dict({"activation": "topk", "k": 3}) == before
    assert Config.from_dict({"activation": "topk", "k": 3, "shrink": 2}).non_defaults() == before.non_defaults()
    assert before.to_dict().keys() == Config().to_dict().keys()


def own_topk(**body):
    return type("Own", (TopK,), {"__module__": __name__, **body})


def subclass_of_topk(**body):
    return activation("own")(own_topk(**body))


NO_NAME = r'^expected the name of the .*, found {}; write @sdl.{}\("name"\)$'


@pytest.mark.parametrize(
    ("register", "message"),
    [
        *(
            (lambda decorator=decorator: getattr(sdl, decorator)(soft), NO_NAME.format("<function soft.*>", decorator))
            for decorator in ("activation", "loss_term", "solver", "source")
        ),
        (lambda: sdl.activation(3), NO_NAME.format("3", "activation")),
        (lambda: activation("topk")(own_topk()), r"test_plugins: activation topk: sdlcore has one of this name"),
        (lambda: sdl.metric("seconds", "s", "seconds")(no_warning), "metric seconds: sdlcore has one of this name"),
        (lambda: activation("My Own")(own_topk()), "expected lower-case letters"),
        (
            lambda: activation("own")(dict),
            r"own: expected a subclass of sdl.Activation, found the class dict; define forward\(self, pre\)$",
        ),
        (lambda: activation("own")(no_warning), "expected a subclass of sdl.Activation, found a function; define"),
        (
            lambda: (
                soft(),
                soft(),
                activation("soft")(own_topk(__module__="another")),
            ),  # soft twice, as in a notebook
            r"activation soft: .*test_plugins has one of this name",
        ),
        *(
            (lambda name=name: subclass_of_topk(__annotations__={name: int}), f"sdlcore has a setting {name}")
            for name in ["out", "steps"]
        ),
        (
            lambda: subclass_of_topk(__annotations__={"heat": "Unknown"}),
            "test_plugins: activation own: name 'Unknown' is not defined",
        ),
    ],
)
def test_what_is_no_plugin_is_refused(register, message):
    with pytest.raises((PluginError, TypeError), match=message):
        register()


def test_reserved_names_are_the_arguments_of_fit():
    arguments = inspect.signature(sdl.fit).parameters.keys() - Config().to_dict().keys()
    assert arguments == {*FIT, "settings"}


def test_a_plugin_is_located_beside_the_file_in_the_working_directory_or_installed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("beside/one.py", "two.py", "beside/package/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    beside = tmp_path / "beside"
    assert locate_plugin("one", beside) == "beside/one.py"
    assert locate_plugin("two", beside) == "two.py"
    assert locate_plugin("package", beside) == "beside/package/__init__.py"
    assert locate_plugin("beside/one.py", tmp_path) == "beside/one.py"
    assert locate_plugin("json", beside) == "json"


def test_plugins_are_imported_by_path_with_what_lies_beside_them(tmp_path):
    (tmp_path / "own_helper.py").write_text("NAME = 'by_path'\n")
    (tmp_path / "own_plugin.py").write_text("import own_helper\n" + PLUGIN.format(name="by_path"))
    load_plugins([str(tmp_path / "own_plugin.py")])
    load_plugins([str(tmp_path / "own_plugin.py")])
    plugin = extensions("activation")["by_path"]
    assert plugin.module == "own_plugin"
    assert plugin.digest == sha256_of(tmp_path / "own_plugin.py")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing_plugin", None, r"missing_plugin: no such module beside the configuration file, in /"),
        (
            "broken_plugin.py",
            "x = 1\n1 / 0\n",
            r"broken_plugin.py cannot be imported \(ZeroDivisionError: .*, line 2\)",
        ),
        ("needy_plugin.py", "import not_there\n", r"needy_plugin.py cannot be imported \(ModuleNotFoundError: "),
        ("leaving_plugin.py", "exit(3)\n", r"leaving_plugin.py cannot be imported \(SystemExit: 3"),
        ("json.py", "", r"json.py: another module is called json; rename yours"),
        ("gone_plugin.py", None, "gone_plugin.py: no such file"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named(tmp_path, monkeypatch, name, text, message):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(PluginError, match=message):
        load_plugins([name])


def test_installed_packages_have_entry_points(tmp_path, monkeypatch):
    (tmp_path / "installed_plugin.py").write_text(PLUGIN.format(name="installed"))
    monkeypatch.syspath_prepend(tmp_path)
    points = [metadata.EntryPoint("one", name, plugins.GROUP) for name in ("installed_plugin", "broken_installed")]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points if group == plugins.GROUP else [])
    plugins._import_installed.cache_clear()
    with pytest.warns(UserWarning, match="the plugin broken_installed cannot be imported"):
        assert ModelConfig("sae", "installed", 8, 2).selects
    plugins._import_installed.cache_clear()
