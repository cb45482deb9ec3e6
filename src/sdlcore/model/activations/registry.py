"""Activation functions by the names that configurations have: ours, and those of plugins."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, get_args

from sdlcore.model.plugin_checks import check_returned
from sdlcore.model.sigma import Selecting, Sigma
from sdlcore.plugins.plugin_settings import settings_class
from sdlcore.plugins.registry import Extension, check_named, in_words, register, registered
from sdlcore.run import TAKEN, Activation, ModelConfig, RunConfig

AnySigma = TypeVar("AnySigma", bound=type[Sigma])


def activation(name: str) -> Callable[[AnySigma], AnySigma]:
    """Register a class as the activation of a name, for configurations and `ModelConfig`.

    Its annotated fields are its settings. They are checked as ours are, stand in configurations beside ours, and are
    attributes of every instance. What its methods return is checked, too (`sdlcore.model.plugin_checks`).

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
        facts = {"selects": issubclass(cls, Selecting)}
        taken = [*RunConfig().to_dict(), *TAKEN]
        check_returned(cls, f"activation {name}")
        register(Extension("activation", name, cls, settings, facts), get_args(Activation), taken)
        return cls

    return add


def make_sigma(config: ModelConfig) -> Sigma:
    """Return the activation function of a model, of the module of its name, which alone is imported, or of a plugin.

    Raises
    ------
    TypeError
        If it keeps a given number of latents by `sdlcore.run.SELECTING`, and its class is not made for that.
    ValueError
        If the class of a plugin does not make one.
    """
    own = registered("activation", config.activation)
    if own is None:
        found: Sigma = import_module(f"sdlcore.model.activations.{config.activation}").SIGMA.of(config)
    else:
        # a class that has the settings as attributes: `__init__` and `of` may read them
        with_settings: Any = type(own.made.__name__, (own.made,), dict(config.own))
        found = with_settings.of(config)
        if not isinstance(found, own.made):
            raise ValueError(f"activation {own.name}: of returned {in_words(found)}, expected one of its class")
        found.__class__ = own.made
    for setting, value in config.own.items():
        setattr(found, setting, value)
    if config.selects and not isinstance(found, Selecting):
        raise TypeError(f"{type(found).__name__}: expected a subclass of Selecting, since SELECTING has its name")
    return found
