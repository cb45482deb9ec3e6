"""Look up activation functions by their names in configurations: built-in ones and plugins."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, get_type_hints

from sdlcore.config import BUILT_IN, TAKEN, Config, ModelConfig
from sdlcore.model.activation import Activation, Selecting
from sdlcore.model.plugin_checks import checked_methods, derived_methods
from sdlcore.plugins.plugin_settings import settings_class
from sdlcore.plugins.registry import Extension, check_named, register, registered

AnyActivation = TypeVar("AnyActivation", bound=type[Activation])


def activation(name: str) -> Callable[[AnyActivation], AnyActivation]:
    """Register a class as an activation under a name, for configurations and `ModelConfig`.

    Its annotated fields become settings, checked like the built-in ones. The field ``k: int`` takes the built-in
    setting k. Models use a subclass that stores the values of the settings and checks the results of the methods
    (`sdlcore.model.plugin_checks`).

    Parameters
    ----------
    name
        Name in configurations: lower-case letters, digits and underscores.

    Raises
    ------
    PluginError
        If the name is taken or missing; or if a setting has the name of a built-in setting or of a method, or a type
        that configurations cannot hold.
    TypeError
        If the class is not a subclass of `Activation`.
    """
    check_named(name, "activation")

    def add(cls: AnyActivation) -> AnyActivation:
        candidate: object = cls
        if not (isinstance(candidate, type) and issubclass(candidate, Activation)):
            kind = f"the class {candidate.__name__}" if isinstance(candidate, type) else f"a {type(candidate).__name__}"
            raise TypeError(
                f"activation {name}: expected a subclass of sdl.Activation, found {kind}; define forward(self, pre)"
            )
        settings = settings_class(cls, f"activation {name}", built_in=["k"])
        selects = issubclass(cls, Selecting) or "k" in get_type_hints(cls)
        facts = {"selects": selects, "checked": checked_methods(cls, f"activation {name}")}
        reserved = [*Config.model_fields, *TAKEN]
        register(Extension("activation", name, cls, settings, facts), BUILT_IN, reserved)
        return cls

    return add


def make_sigma(config: ModelConfig) -> Activation:
    """Return a model's activation function, importing only its module or taking it from a plugin."""
    extension = registered("activation", config.activation)
    if extension is None:
        cls = import_module(f"sdlcore.model.activations.{config.activation}").ACTIVATION
        sigma: Activation = cls(**_arguments(cls, config))
    else:
        # settings become attributes of a subclass, because `__init__` may already read them
        plugin, settings = extension.implementation, config.model_extra or {}
        body = {**derived_methods(plugin), **extension.facts["checked"], **settings, "__module__": extension.module}
        body |= {"k": config.k} if config.selects else {}
        subclass: Any = type(plugin.__name__, (plugin,), body)
        sigma = subclass(**_arguments(subclass, config))
    return sigma


def _arguments(cls: type[Activation], config: ModelConfig) -> dict[str, Any]:
    """Return the model's settings that the constructor takes, by name."""
    names = (name for name in inspect.signature(cls).parameters if name not in (config.model_extra or {}))
    return {name: getattr(config, name) for name in names if hasattr(config, name)}
