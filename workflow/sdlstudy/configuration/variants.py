"""Write out sources and methods that are ``like`` others."""

from collections.abc import Mapping
from typing import Any

from sdlcore.config import ModelConfig
from sdlcore.settings import Json
from sdlcore.storage.yaml_files import ConfigError
from sdlcore.suggestions import did_you_mean
from sdlstudy.settings.trees import Tree, branch, merge

Group = Mapping[str, Any]
"""Settings by name: the sources of one kind, or the methods."""


def without_like(config: Tree) -> dict[str, Json]:
    """Return the configuration with every variant written out: its ``like`` with its own settings merged over it.

    A method also inherits the protocols' settings for its ``like``, except for settings that the method gives itself.

    Raises
    ------
    ConfigError
        If a ``like`` names no other entry of its group, or if names form a circle.
    """
    methods, protocols = branch(config, "methods"), branch(config, "protocols")
    for name, protocol in protocols.items():
        if isinstance(protocol, Mapping):
            method_branch = branch(protocol, "methods")
            inherited = {
                heir: _protocol_layer(methods, method_branch, heir) for heir in methods if _like(methods, heir)
            }
            protocols[name] = merge(protocol, {"methods": {heir: layer for heir, layer in inherited.items() if layer}})
    sources = {
        kind: _written(group, f"sources.{kind}") if isinstance(group, Mapping) else group
        for kind, group in branch(config, "sources").items()
    }
    written = {"sources": sources, "methods": _written(methods, "methods"), "protocols": protocols}
    return dict(config) | {key: part for key, part in written.items() if isinstance(config.get(key), Mapping)}


def _written(group: Group, path: str) -> dict[str, Any]:
    """Return a group with each variant's settings merged over the settings of the entries that it is like."""
    written = dict(group)
    for name in group:
        if _like(group, name):
            settings: dict[str, Json] = {}
            for above in reversed(_chain(group, name, path)):
                settings = merge(_inherited(settings, branch(group, above)), branch(group, above))
            written[name] = {key: value for key, value in settings.items() if key != "like"}
    return written


def _like(group: Group, name: str) -> Any:
    return branch(group, name).get("like")


def _chain(group: Group, name: str, path: str) -> list[str]:
    """Return a name, the name that it is like, and so on."""
    chain = [name]
    while (base := _like(group, chain[-1])) is not None:
        if not isinstance(base, str) or base not in group:
            choices = ", ".join(other for other in group if other != chain[-1]) or "none"
            hint = did_you_mean(str(base), group)
            raise ConfigError([f"{path}.{chain[-1]}.like: {base} is not a key of {path} ({choices}){hint}"])
        if base in chain:
            raise ConfigError([f"{path}.{name}.like: the chain is a circle ({' -> '.join([*chain, base])})"])
        chain.append(base)
    return chain


def _protocol_layer(methods: Group, layers: Group, name: str) -> dict[str, Json]:
    """Return one protocol's settings for a method, with those for its ``like``; ``layers`` maps methods to settings."""
    layer: dict[str, Json] = {}
    for above in reversed(_chain(methods, name, "methods")):
        method_branch = branch(methods, above)
        layer = {
            key: value for key, value in _inherited(layer, method_branch).items() if key not in method_branch
        } | branch(layers, above)
    return layer


def _inherited(settings: dict[str, Json], heir: Tree) -> dict[str, Json]:
    """Return the settings that a source or method inherits. A method whose activation has no k inherits none."""
    activation = heir.get("activation")
    if not isinstance(activation, str) or ModelConfig.model_construct(activation=activation).selects:
        return settings
    return {key: value for key, value in settings.items() if key != "k"}
