"""Activation functions by the names that configurations have: ours, and those of plugins."""

from collections.abc import Callable
from importlib import import_module
from typing import TypeVar, get_args

from sdlcore.model.sigma import Selecting, Sigma
from sdlcore.plugins.own import settings_class
from sdlcore.plugins.registry import Extension, register, registered
from sdlcore.run import Activation, ModelConfig, RunConfig

AnySigma = TypeVar("AnySigma", bound=type[Sigma])


def activation(name: str) -> Callable[[AnySigma], AnySigma]:
    """Register a class as the activation of a name, for configurations and `ModelConfig`.

    Its annotated fields are its settings. They are checked as ours are, stand in configurations beside ours, and are
    attributes of every instance.

    Parameters
    ----------
    name
        What configurations call it: lower-case letters, digits and underscores.

    Raises
    ------
    PluginError
        If the name is taken, or a setting has the name of one of ours or a type that no configuration can hold.
    TypeError
        If the class is no subclass of `Sigma`.
    """

    def add(cls: AnySigma) -> AnySigma:
        if not issubclass(cls, Sigma):
            raise TypeError(f"activation {name}: {cls.__name__} is no subclass of Sigma, such as TopK")
        settings = settings_class(cls, f"activation {name}")
        facts = {"selects": issubclass(cls, Selecting)}
        register(Extension("activation", name, cls, settings, facts), get_args(Activation), RunConfig().to_dict())
        return cls

    return add


def make_sigma(config: ModelConfig) -> Sigma:
    """Return the activation function of a model, of the module of its name, which alone is imported, or of a plugin.

    Raises
    ------
    TypeError
        If it keeps a given number of latents by `sdlcore.run.SELECTING`, and its class is not made for that.
    """
    own = registered("activation", config.activation)
    cls = import_module(f"sdlcore.model.activations.{config.activation}").SIGMA if own is None else own.made
    found: Sigma = cls.of(config)
    for setting, value in config.own.items():
        setattr(found, setting, value)
    if config.selects and not isinstance(found, Selecting):
        raise TypeError(f"{type(found).__name__}: expected a subclass of Selecting, since SELECTING has its name")
    return found
