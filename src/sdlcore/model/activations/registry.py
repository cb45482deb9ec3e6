"""Look up activation functions by their names in configurations: built-in ones and plugins."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

from sdlcore.config import BUILT_IN, TAKEN, Config, ModelConfig
from sdlcore.model.activation import Activation, Selecting
from sdlcore.plugins.registry import extension, registered

ActivationClass = TypeVar("ActivationClass", bound=type[Activation])


def activation(name: str) -> Callable[[ActivationClass], ActivationClass]:
    """Register a class as an activation under a name, for configurations and `ModelConfig`.

    Its annotated fields become settings, checked like the built-in ones. The field ``k: int`` takes the built-in
    setting k. An instance has the values of all settings as attributes before its ``__init__`` runs.

    Parameters
    ----------
    name
        Name in configurations: lower-case letters, digits and underscores.

    Raises
    ------
    PluginError
        If the name is taken or missing; or if a setting is named like a built-in setting or a method, or has a type
        that configurations cannot hold.
    TypeError
        If the class is not a subclass of `Activation`.
    """
    facts: dict[str, bool] = {}
    register = extension("activation", name, BUILT_IN, [*Config.model_fields, *TAKEN], facts, built_in=["k"])

    def add(cls: ActivationClass) -> ActivationClass:
        candidate: object = cls
        if not (isinstance(candidate, type) and issubclass(candidate, Activation)):
            kind = f"the class {candidate.__name__}" if isinstance(candidate, type) else f"a {type(candidate).__name__}"
            raise TypeError(
                f"activation {name}: expected a subclass of sdl.Activation, found {kind}; define forward(self, pre)"
            )
        facts["selects"] = issubclass(cls, Selecting) or any(
            "k" in vars(base).get("__annotations__", {}) for base in cls.__mro__
        )
        return register(cls)

    return add


def make_sigma(config: ModelConfig) -> Activation:
    """Return a model's activation function, importing only its module or taking it from a plugin."""
    plugin, settings = registered("activation", config.activation), config.model_extra or {}
    if plugin is None:
        cls = import_module(f"sdlcore.model.activations.{config.activation}").ACTIVATION
    else:
        cls = plugin.implementation
    # settings become attributes first, because `__init__` may read them
    sigma: Activation = cls.__new__(cls)
    vars(sigma).update(settings | ({"k": config.k} if config.selects else {}))
    names = inspect.signature(cls).parameters
    cls.__init__(sigma, **{name: getattr(config, name) for name in names if hasattr(config, name)})
    return sigma
