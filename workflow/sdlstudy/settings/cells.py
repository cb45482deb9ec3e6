"""Identify a run by a `Cell`, and merge its settings from protocol, source, method and anchoring."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from peers.settings import PeerConfig
from sdlcore.config import Config
from sdlcore.plugins.registry import own_settings
from sdlcore.settings import Json
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.settings.runs import Layer, Method, RunSettings
from sdlstudy.settings.study import Study

NAMES = ("warm_start", "like")
"""Settings of methods that name other methods. They are not settings of runs."""


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
        If settings exclude each other.
    """
    kind = study.methods[cell.method].settings
    settings = dict(_layered_settings(study, cell.source, cell.method, cell.protocol))
    if kind is Config and cell.anchoring != "none":
        settings |= study.anchorings[cell.anchoring].of_runs
    return kind.from_dict(settings)


def trained_settings(study: Study, cell: Cell) -> Config:
    """Return the settings of a run that sdlcore trains."""
    settings = run_settings(study, cell)
    assert isinstance(settings, Config), f"{cell.method} is not trained here"
    return settings


def setting_of(study: Study, source: str, method: str, protocol: str, name: str) -> Any:
    """Return one setting of a run, as given or its default. The settings are not checked against each other.

    Raises
    ------
    KeyError
        If the run has no such setting.
    """
    return unchecked_settings(study, source, method, protocol)[name]


def unchecked_settings(study: Study, source: str, method: str, protocol: str) -> dict[str, Any]:
    """Return all settings of a run, as given or their defaults, without checking them against each other."""
    default, settings = study.methods[method].settings(), dict(_layered_settings(study, source, method, protocol))
    return default.to_dict() | _plugin_defaults(settings) | settings


def _plugin_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of the plugins' settings in a run, with weight zero for each loss term."""
    return {
        name: plugin.settings.model_fields[name].default
        for name, declared in own_settings("activation", "loss term", "solver").items()
        for plugin in declared
        if (plugin.name in (settings.get("activation"), settings.get("solver"), name) or settings.get(plugin.name))
    }


def _layered_settings(study: Study, source: str, method: str, protocol: str) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a run from all of its layers; later layers override earlier ones."""
    kind, layers = study.methods[method], study.protocols[protocol]
    if not kind.is_given:
        for layer in (layers.run, study.source(source).run):
            yield from (
                (name, value)
                for name, value in _explicit_settings(layer)
                if not kind.is_peer or name in PeerConfig.shared
            )
    yield from _explicit_settings(kind)
    if (kind.is_peer or kind.is_imported) and kind.warm_start is not None:
        yield "warm_start", kind.warm_start  # refused later: neither kind of run can start from another dictionary
    if method in layers.methods:
        yield from _explicit_settings(layers.methods[method])


def sets_itself(study: Study, cell: Cell, name: str) -> bool:
    """Return whether a run's method, or its protocol for that method, overrides a setting of its source."""
    layers = (study.methods[cell.method], study.protocols[cell.protocol].methods.get(cell.method))
    return any(name == key for layer in layers if layer is not None for key, _ in _explicit_settings(layer))


def _explicit_settings(layer: Layer) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in layer if name in layer.model_fields_set and name not in NAMES)


def start_cell(study: Study, cell: Cell) -> Cell | None:
    """Return the run that a run starts from, or None. It is the same cell with the other method and no anchors."""
    method = study.methods[cell.method].warm_start
    return None if method is None else Cell(cell.source, method, cell.protocol, "none", cell.seed)


def method_settings(method: Method) -> RunSettings:
    """Return the settings of a method alone, without the settings in protocols and sources.

    Raises
    ------
    ValueError
        If settings exclude each other.
    """
    return method.settings.from_dict(dict(_explicit_settings(method)))


def solver_settings(method: Method) -> SolverConfig:
    """Return the settings of a method that is a solver. Raises as `method_settings` does."""
    settings = method_settings(method)
    assert isinstance(settings, SolverConfig), "not a solver"
    return settings


def variant_name(name: str, parameter: str, value: float) -> str:
    """Return the name of a source's or method's variant with another value of one parameter."""
    return f"{name}_{parameter}_{re.sub('[^a-z0-9]+', '_', str(value))}"


class Discovering(NamedTuple):
    """A solver that discovers the directions of an anchoring."""

    solver: SolverConfig
    min_cosine: float
    """Smallest cosine between a direction from one half of the data and its match from the other half."""

    def to_dict(self) -> dict[str, Json]:
        """Return the settings as JSON values."""
        return {"solver": self.solver.to_dict(), "min_cosine": self.min_cosine}


def discovery_of(study: Study, anchoring: str) -> Discovering | None:
    """Return the solver that discovers the directions of an anchoring; None if the anchoring does not use a solver."""
    discover = study.anchorings[anchoring].discover
    if discover is None:
        return None
    return Discovering(solver_settings(study.methods[discover.method]), discover.min_cosine)
