"""Sources and methods that are variants of others: those that say so by ``like``, and those that tables sweep over."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from sdlcore.baselines.settings import PeerConfig
from sdlcore.run import RunConfig
from sdlcore.study.configuration.run_keys import (
    frontier_points,
    is_peer,
    is_solver,
    run_settings,
    run_tables,
    source_kind,
    sweeps_source,
    table_points,
)
from sdlcore.study.configuration.yaml_files import did_you_mean

Group = dict[str, dict[str, Any]]
"""Names -> settings, of the sources of one kind or of methods."""
LONGEST_CHAIN = 20
"""How many sources or methods may be like each other, one after the other."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on it; mappings merge key by key, anything else replaces."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def misnamed_variants(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the names that ``like`` gives, each led by the path of the key."""
    for path, group in _groups(config).items():
        for name, settings in group.items():
            base = settings.get("like")
            if base is None:
                continue
            if base not in group:
                known = [other for other in group if other != name]
                choices = f" ({', '.join(known)})" if known else ", of which there is no other"
                elsewhere = [other for other, names in _groups(config).items() if base in names]
                hint = f"; it is one of {elsewhere[0]}" if elsewhere else did_you_mean(base, known)
                yield f"{path}.{name}.like: {base} is not a key of {path}{choices}{hint}"
            elif name in (chain := _chain(group, base)):
                yield f"{path}.{name}.like: goes round in a circle ({' -> '.join([name, *chain])})"
            elif len(chain) > LONGEST_CHAIN:
                yield f"{path}.{name}.like: goes over more than {LONGEST_CHAIN} others; expected fewer"


def unsound_starts(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the methods that others start from."""
    methods = config["methods"]
    for method, settings in methods.items():
        path, chain = f"methods.{method}.warm_start", [method]
        while (base := methods[chain[-1]].get("warm_start")) is not None:
            if base not in methods:
                if len(chain) == 1:
                    choices = f"({', '.join(methods)}){did_you_mean(base, methods)}"
                    yield f"{path}: {base} is not a key of methods {choices}"
                break
            chain.append(base)
            if base in chain[:-1]:
                yield f"{path}: goes round in a circle ({' -> '.join(chain)})"
                break
        if "warm_start" in settings:
            for key in ("center", "init_l0"):
                if settings.get(key):
                    yield f"methods.{method}.{key}: has no meaning with warm_start, which sets what it would start"


def without_like(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with every variant written out: the settings of what it is like, its own laid over.

    A method takes what protocols have for the method that it is like, too, but for what it says itself.
    """
    filled = copy.deepcopy(dict(config))
    methods = filled.get("methods", {})
    for protocol in filled.get("protocols", {}).values():
        layers = protocol.get("methods", {})
        inherited = {name: _protocol_layer(methods, layers, name) for name in methods}
        protocol["methods"] = layers | {name: layer for name, layer in inherited.items() if layer}
    for group in _groups(filled).values():
        written = {name: _laid_over(group, _chain(group, name)) for name in group}
        for name, settings in written.items():
            settings.pop("like", None)
            group[name] = settings
    return filled


def unsound_sweeps(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the parameters of sweeps of tables whose names are right."""
    for table, spec in run_tables(config).items():
        sweep = spec["sweep"]
        if sweep is None:
            continue
        path = f"tables.{table}.sweep"
        if not sweeps_source(config, spec) and sweep["parameter"] not in RunConfig().to_dict():
            kind = f"sources.{source_kind(config, spec['source'])}"
            yield f"{path}.parameter: {sweep['parameter']} is a setting neither of {kind} nor of methods"
        if not sweeps_source(config, spec):
            for method in filter(lambda name: is_solver(config, name), spec["methods"]):
                yield f"{path}.parameter: {sweep['parameter']} is no setting of the solver {method}; sweep the source"
            for method in filter(lambda name: is_peer(config, name), spec["methods"]):
                if sweep["parameter"] not in PeerConfig().to_dict():
                    yield f"{path}.parameter: {sweep['parameter']} is no setting of the peer {method}"
        if sweep["paper"] is not None and len(sweep["paper"]) != len(sweep["values"]):
            counts = f"{len(sweep['paper'])} values of the paper for {len(sweep['values'])} of ours"
            yield f"{path}.paper: {counts}; expected one for each, or null for the same values"


def with_sweeps(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose names are right with the variants that its tables and its frontier sweep over.

    One of the same name that is there already is left as it is: a value that needs more than the parameter.
    """
    filled = copy.deepcopy(dict(config))
    methods = filled["methods"]
    for table, spec in run_tables(filled).items():
        for point in table_points(filled, table):
            if point.value is None:
                continue
            parameter = {spec["sweep"]["parameter"]: point.value}
            sources = filled["sources"][source_kind(filled, spec["source"])]
            sources.setdefault(point.source, copy.deepcopy(sources[spec["source"]]) | parameter)
            for method, variant in point.methods.items():
                if variant in methods:
                    continue
                methods[variant] = methods[method] | parameter
                for protocol in filled["protocols"].values():
                    if method in protocol["methods"]:
                        protocol["methods"].setdefault(variant, protocol["methods"][method] | parameter)
    benches = filled["sources"].get("bench", {})
    for at in frontier_points(filled):
        base = benches[filled["frontier"]["source"]]
        benches.setdefault(at.source, copy.deepcopy(base) | {at.parameter: at.value})
    return filled


def missed_values(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the points of sweeps whose runs have another value than they are named by."""
    for table, spec in run_tables(config).items():
        for point in table_points(config, table):
            if point.value is None:
                continue
            parameter = spec["sweep"]["parameter"]
            found = {f"sources.{point.source}": config["sources"][source_kind(config, point.source)][point.source]}
            if not sweeps_source(config, spec):
                found = {
                    f"methods.{method} under protocols.{protocol}": run_settings(config, point.source, method, protocol)
                    for method in point.methods.values()
                    for protocol in spec["protocols"]
                }
            for where, settings in found.items():
                if settings[parameter] != point.value:
                    yield f"tables.{table}.sweep.values: {point.value}, but {where} has {settings[parameter]}"
    for at in frontier_points(config):
        value = config["sources"]["bench"][at.source][at.parameter]
        if value != at.value:
            yield f"frontier.panels.{at.parameter}.values: {at.value}, but sources.{at.source} has {value}"


def _groups(config: Mapping[str, Any]) -> dict[str, Group]:
    kinds = {f"sources.{kind}": group for kind, group in config.get("sources", {}).items()}
    return kinds | {"methods": config.get("methods", {})}


def _chain(group: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return a name, what it is like, what that is like, and so on, up to a name that is missing or came before.

    It ends, too, where it is longer than any may be.
    """
    chain = [name]
    while True:
        base = group[chain[-1]].get("like")
        if base is None or base not in group or base in chain or len(chain) > LONGEST_CHAIN:
            return chain
        chain.append(base)


def _protocol_layer(methods: Group, layers: Group, name: str) -> dict[str, Any]:
    """Return what a protocol, whose settings of methods are ``layers``, has for a method and for what that is like."""
    layer: dict[str, Any] = {}
    for part in reversed(_chain(methods, name)):
        layer = {key: value for key, value in layer.items() if key not in methods[part]} | layers.get(part, {})
    return copy.deepcopy(layer)


def _laid_over(group: Mapping[str, Mapping[str, Any]], chain: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in reversed(chain):
        settings = merge(settings, group[name])
    return copy.deepcopy(settings)
