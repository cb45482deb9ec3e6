"""Activation functions by the names that configurations have: ours, and those of plugins."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, get_args

from sdlcore.model.activation import Activation, Selecting
from sdlcore.model.derived import derived
from sdlcore.model.old_plugins import OldMethods, adapted
from sdlcore.model.plugin_checks import checked_methods
from sdlcore.plugins.plugin_settings import settings_class
from sdlcore.plugins.registry import Extension, check_named, in_words, register, registered
from sdlcore.run import TAKEN, ModelConfig, RunConfig
from sdlcore.run import Activation as Names

AnyActivation = TypeVar("AnyActivation", bound=type[Activation])


def activation(name: str) -> Callable[[AnyActivation], AnyActivation]:
    """Register a class as the activation of a name, for configurations and `ModelConfig`.

    Its annotated fields become settings of configurations, checked like the built-in ones. A model uses a subclass
    that has their values as attributes and checks what the methods return (`sdlcore.model.plugin_checks`).

    Parameters
    ----------
    name
        What configurations call it: lower-case letters, digits and underscores.

    Raises
    ------
    PluginError
        If the name is taken or left out, a setting has the name of one of ours or of a method, or no type that a
        configuration can hold, or a method takes other arguments than ours.
    TypeError
        If the class is no subclass of `Activation`.
    """
    check_named(name, "activation")

    def add(cls: AnyActivation) -> AnyActivation:
        if not issubclass(cls, Activation):
            raise TypeError(f"activation {name}: {cls.__name__} is no subclass of Activation, such as TopK")
        settings = settings_class(cls, f"activation {name}")
        facts = {"selects": issubclass(cls, Selecting), "checked": checked_methods(cls, f"activation {name}")}
        taken = [*RunConfig().to_dict(), *TAKEN]
        register(Extension("activation", name, cls, settings, facts), get_args(Names), taken)
        return cls

    return add


def make_sigma(config: ModelConfig) -> Activation:
    """Return a model's activation function: a built-in one, whose module alone is imported, or a plugin's.

    Raises
    ------
    TypeError
        If `sdlcore.run.SELECTING` names it, but it is no subclass of `Selecting`.
    ValueError
        If ``of`` of a plugin's class returns anything else than an instance of the class that it is called on.
    """
    own = registered("activation", config.activation)
    if own is None:
        cls = import_module(f"sdlcore.model.activations.{config.activation}").ACTIVATION
        found: Activation = cls(**_arguments(cls, config))
    else:
        # a subclass, since `__init__` may read the settings already
        added = {**derived(own.made), **adapted(own.made)}
        body = {**added, **own.facts["checked"], **config.own, "__module__": own.module}
        made: Any = type(own.made.__name__, (own.made, OldMethods), body)
        found = made.of(config) if hasattr(made, "of") else made(**_arguments(made, config))
        if not isinstance(found, made):
            raise ValueError(f"activation {own.name}: of returned {in_words(found)}, expected cls(...)")
    if config.selects and not isinstance(found, Selecting):
        raise TypeError(f"{type(found).__name__}: expected a subclass of Selecting, since SELECTING has its name")
    return found


def _arguments(cls: type[Activation], config: ModelConfig) -> dict[str, Any]:
    """Return the settings of a model that a class takes."""
    return {name: getattr(config, name) for name in inspect.signature(cls).parameters if hasattr(config, name)}
