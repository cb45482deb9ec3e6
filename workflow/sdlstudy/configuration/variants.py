"""Write out sources and methods that are ``like`` others, and expand sweeps."""

from collections.abc import Iterator, Mapping

from sdlcore.config import Config, ModelConfig
from sdlcore.settings import Json
from sdlcore.suggestions import did_you_mean
from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.study import Study
from sdlstudy.settings.trees import Tree, branch, merge

Group = dict[str, dict[str, Json]]
"""Settings by name: the sources of one kind, or the methods."""
LONGEST_CHAIN = 20
"""Longest chain of ``like`` from one source or method to the next."""


def misnamed_variants(config: Tree) -> Iterator[str]:
    """Yield the names in ``like`` that are unknown or circular, each with the path of the key."""
    for path, group in _groups(config).items():
        for name, settings in group.items():
            base = settings.get("like")
            if not isinstance(base, str):
                continue
            if base not in group:
                keys = [other for other in group if other != name]
                choices = f" ({', '.join(keys)})" if keys else f", and {path} has no other key"
                elsewhere = [other for other, names in _groups(config).items() if base in names]
                hint = f"; it is a key of {elsewhere[0]}" if elsewhere else did_you_mean(base, keys)
                yield f"{path}.{name}.like: {base} is not a key of {path}{choices}{hint}"
            elif name in (chain := _chain(group, base)):
                yield f"{path}.{name}.like: the chain is a circle ({' -> '.join([name, *chain])})"
            elif len(chain) > LONGEST_CHAIN:
                yield f"{path}.{name}.like: the chain has more than {LONGEST_CHAIN} links; expected fewer"


def unsound_starts(study: Study) -> Iterator[str]:
    """Yield the invalid names and settings of methods with a warm start."""
    methods = study.methods
    for method, settings in methods.items():
        path, chain = f"methods.{method}.warm_start", [method]
        while (base := methods[chain[-1]].warm_start) is not None:
            if base not in methods:
                if len(chain) == 1:
                    choices = f"({', '.join(methods)}){did_you_mean(base, methods)}"
                    yield f"{path}: {base} is not a key of methods {choices}"
                break
            chain.append(base)
            if base in chain[:-1]:
                yield f"{path}: the chain is a circle ({' -> '.join(chain)})"
                break
        if settings.has_codes and settings.warm_start is None:
            yield f"methods.{method}.warm_start: missing; search needs it, the method whose dictionary gets new codes"
        start = methods.get(settings.warm_start or "")
        if settings.has_codes and start is not None and start.settings is not Config:
            yield f"methods.{method}.warm_start: {settings.warm_start} is no training, which search needs"
        if settings.warm_start is not None and settings.init_l0 is not None:
            yield f"methods.{method}.init_l0: has no meaning with warm_start, which sets the start itself"


def without_like(config: Tree) -> dict[str, Json]:
    """Return the configuration with every variant written out: its ``like`` with its own settings merged over it.

    A method also inherits the protocols' settings for its ``like``, except for settings that the method gives itself.
    """
    filled, methods = dict(config), _group(config, "methods")
    written = {name: _laid_over(methods, _chain(methods, name)) for name in methods}
    if "protocols" in config:
        protocols = {}
        for protocol in branch(config, "protocols"):
            layers = _group(config, "protocols", protocol, "methods")
            inherited = {name: _protocol_layer(methods, layers, name) for name in methods}
            all_layers = layers | {name: layer for name, layer in inherited.items() if layer}
            protocols[protocol] = branch(config, "protocols", protocol) | {"methods": all_layers}
        filled["protocols"] = protocols
    if "methods" in config:
        filled["methods"] = written
    if "sources" in config:
        kinds = {kind: _group(config, "sources", kind) for kind in branch(config, "sources")}
        filled["sources"] = {
            kind: {name: _laid_over(group, _chain(group, name)) for name in group} for kind, group in kinds.items()
        }
    return filled


def with_each_layer(config: Tree) -> dict[str, Json]:
    """Expand each language model's source with ``each_layer`` into one source for each layer."""
    sources: dict[str, Json] = {}
    for name, settings in branch(config, "sources", "language").items():
        layers = settings.get("each_layer") if isinstance(settings, Mapping) else None
        if not isinstance(settings, Mapping) or not (isinstance(layers, list) and layers):  # else refused later
            sources[name] = settings
            continue
        common = {key: value for key, value in settings.items() if key not in ("each_layer", "layer")}
        sources |= {f"{name}_layer{layer}": {"one_pass": name, **common, "layer": layer} for layer in layers}
    if not sources:
        return dict(config)
    return {**config, "sources": {**branch(config, "sources"), "language": sources}}


def with_sweeps(config: Configuration) -> Configuration:
    """Add the variants that tables and figures sweep over. All names must be valid.

    A source or method with the name of a variant stays unchanged: its value may need more than the one parameter.
    """
    for product in config.products_by_path().values():
        config = product.with_variants(config)
    return config


def _group(config: Tree, *path: str) -> Group:
    return {name: branch(config, *path, name) for name in branch(config, *path)}


def _groups(config: Tree) -> dict[str, Group]:
    kinds = {f"sources.{kind}": _group(config, "sources", kind) for kind in branch(config, "sources")}
    return kinds | {"methods": _group(config, "methods")}


def _chain(group: Group, name: str) -> list[str]:
    """Follow ``like`` from a name, and return all names on the way.

    The chain ends before a name that is unknown or already in it, and once it is longer than allowed.
    """
    chain = [name]
    while True:
        base = group[chain[-1]].get("like")
        if not isinstance(base, str) or base not in group or base in chain or len(chain) > LONGEST_CHAIN:
            return chain
        chain.append(base)


def _protocol_layer(methods: Group, layers: Group, name: str) -> dict[str, Json]:
    """Return one protocol's settings for a method, with those for its ``like``; ``layers`` maps methods to settings."""
    layer: dict[str, Json] = {}
    for above in reversed(_chain(methods, name)):
        inherited = _inherited(layer, methods[above])
        layer = {key: value for key, value in inherited.items() if key not in methods[above]} | layers.get(above, {})
    return layer


def _inherited(settings: dict[str, Json], heir: Tree) -> dict[str, Json]:
    """Return the settings that a source or method inherits. A method whose activation has no k inherits none."""
    activation = heir.get("activation")
    if not isinstance(activation, str) or ModelConfig.model_construct(activation=activation).selects:
        return settings
    return {key: value for key, value in settings.items() if key != "k"}


def _laid_over(group: Group, chain: list[str]) -> dict[str, Json]:
    settings: dict[str, Json] = {}
    for name in reversed(chain):
        settings = merge(_inherited(settings, group[name]), group[name])
    return {key: value for key, value in settings.items() if key != "like"}
