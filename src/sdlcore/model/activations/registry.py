"""Activation functions by the names that configurations have: ours, and those of plugins."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, get_args

from sdlcore.model.plugin_checks import checked_methods
from sdlcore.model.sigma import Selecting, Sigma
from sdlcore.plugins.plugin_settings import settings_class
from sdlcore.plugins.registry import Extension, check_named, in_words, register, registered
from sdlcore.run import TAKEN, Activation, ModelConfig, RunConfig

AnySigma = TypeVar("AnySigma", bound=type[Sigma])


def activation(name: str) -> Callable[[AnySigma], AnySigma]:
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
        If the class is no subclass of `Sigma`.
    """
    check_named(name, "activation")

    def add(cls: AnySigma) -> AnySigma:
        if not issubclass(cls, Sigma):
            raise TypeError(f"activation {name}: {cls.__name__} is no subclass of Sigma, such as TopK")
        settings = settings_class(cls, f"activation {name}")
        facts = {"selects": issubclass(cls, Selecting), "checked": checked_methods(cls, f"activation {name}")}
        taken = [*RunConfig().to_dict(), *TAKEN]
        register(Extension("activation", name, cls, settings, facts), get_args(Activation), taken)
        return cls

    return add


def make_sigma(config: ModelConfig) -> Sigma:
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
        found: Sigma = import_module(f"sdlcore.model.activations.{config.activation}").SIGMA.of(config)
    else:
        # a subclass, since `of` and `__init__` may read the settings already
        body = {**own.facts["checked"], **config.own, "__module__": own.module}
        made: Any = type(own.made.__name__, (own.made,), body)
        found = made.of(config)
        if not isinstance(found, made):
            raise ValueError(f"activation {own.name}: of returned {in_words(found)}, expected cls(...)")
    if config.selects and not isinstance(found, Selecting):
        raise TypeError(f"{type(found).__name__}: expected a subclass of Selecting, since SELECTING has its name")
    return found
