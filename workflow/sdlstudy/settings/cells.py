"""Identify a run by a `Cell`, and merge its settings from protocol, source, method and anchoring."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peers.settings import PeerConfig
from sdlcore.config import Config
from sdlcore.plugins.registry import own_settings
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.settings.runs import OF_ANCHORINGS, RunSettings
from sdlstudy.settings.study import Study


@dataclass(frozen=True)
class Cell:
    """One run: a dictionary that is trained, found by a solver, imported, or given codes by search."""

    source: str
    method: str
    protocol: str
    anchoring: str
    seed: int


def run_settings(study: Study, cell: Cell) -> RunSettings:
    """Return the settings of a run.

    A training merges these layers over the defaults: the protocol, the source, the method, and the protocol's settings
    for the method. Its anchoring adds the settings of anchors. A solver or an imported dictionary skips the protocol's
    and the source's layer. Another library takes only the settings in `PeerConfig.shared` from these two.

    Raises
    ------
    ValueError
        If a setting is unknown or has a wrong value, or if settings exclude each other.
    """
    kind = study.methods[cell.method].settings
    settings = _merged(layers(study, cell.source, cell.method, cell.protocol))
    for name in OF_ANCHORINGS:
        if name in settings:
            raise ValueError(f"{name}: belongs to an anchoring, under anchorings.NAME")
    if kind is Config and cell.anchoring != "none":
        settings |= study.anchorings[cell.anchoring].of_runs
    return kind.from_dict(settings)


def layers(study: Study, source: str, method: str, protocol: str) -> dict[str, dict[str, Any]]:
    """Return the settings that apply to a run, by the path of their key in the configuration. Later ones take
    precedence."""
    kind, way, samples = study.methods[method], study.protocols[protocol], study.source(source)
    common = {f"protocols.{protocol}.run": way.run, f"sources.{samples.kind}.{source}.run": samples.run}
    if kind.is_given:
        common = {}
    elif kind.settings is PeerConfig:
        shared = PeerConfig.shared
        common = {path: {name: layer[name] for name in layer if name in shared} for path, layer in common.items()}
    branches = {f"methods.{method}": kind.run, f"protocols.{protocol}.methods.{method}": way.methods.get(method, {})}
    return common | branches


def _merged(layers: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: value for layer in layers.values() for name, value in layer.items()}


def unchecked_settings(study: Study, source: str, method: str, protocol: str) -> dict[str, Any]:
    """Return all settings of a run, as given or their defaults, without checking them against each other."""
    settings = _merged(layers(study, source, method, protocol))
    return study.methods[method].settings().to_dict() | _plugin_defaults(settings) | settings


def _plugin_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of the plugins' settings in a run, with weight zero for each loss term."""
    return {
        name: plugin.settings.model_fields[name].default
        for name, declared in own_settings("activation", "loss term", "solver").items()
        for plugin in declared
        if (plugin.name in (settings.get("activation"), settings.get("solver"), name) or settings.get(plugin.name))
    }


def start_cell(study: Study, cell: Cell) -> Cell | None:
    """Return the run that a run starts from, or None. It is the same cell with the other method and no anchors."""
    method = study.methods[cell.method].warm_start
    return None if method is None else Cell(cell.source, method, cell.protocol, "none", cell.seed)


def variant_name(name: str, parameter: str, value: float) -> str:
    """Return the name of a source's or method's variant with another value of one parameter."""
    return f"{name}_{parameter}_{re.sub('[^a-z0-9]+', '_', str(value))}"


def source_with(study: Study, source: str, parameter: str, value: float) -> str:
    """Return the name of the variant of a source with a value, or of the source itself if it already has the value."""
    return source if value == getattr(study.source(source), parameter) else variant_name(source, parameter, value)


def discovering_solver(study: Study, anchoring: str) -> SolverConfig | None:
    """Return the solver that discovers the directions of an anchoring, without the settings in protocols; None if the
    anchoring does not use a solver."""
    discover = study.anchorings[anchoring].discover
    return None if discover is None else SolverConfig.from_dict(study.methods[discover.method].run)
