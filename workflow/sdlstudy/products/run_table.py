"""The base class of tables of runs: it lists their runs, expands their sweeps and checks their settings."""

from collections.abc import Iterator
from itertools import product
from typing import Annotated

from peers.settings import PeerConfig
from sdlcore.config import Config
from sdlcore.plugins.registry import own_settings
from sdlstudy.products.product import AnyStudy, Product, partial_study
from sdlstudy.results.tables import Layout, Point
from sdlstudy.settings.cells import Cell, setting_of, variant_name
from sdlstudy.settings.fields import AsGiven, Identifier, Names, Numbers, Seeds, Settings, Unique
from sdlstudy.settings.names import ANCHORING, METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study

OWN = "own_"
"""Prefix of the names of tables for a user's own sources. Such tables are not in the paper."""


class Sweep(Settings):
    """The parameter that a table varies, and its values.

    Each value makes a variant of the source or of the methods, named after it (lrb_n_800, topk_k_32). No variant is
    made of a source or method that has the value already, so the table shares its runs with other tables.
    """

    parameter: str
    """A setting of the source, or else of runs."""
    values: Numbers
    """Values of the parameter, in the order of the rows."""
    paper: list[Annotated[float, AsGiven]] | None = None
    """For each of values, the value of the paper's table whose numbers are shown beside it; null for the same
    values."""


class Compared(Product):
    """The runs of a table on one source: methods, anchorings, protocols, seeds and null baselines."""

    methods: Names
    anchorings: Names = ["none"]
    protocols: Names = ["best"]
    seeds: Seeds | None = None
    """Some of the configuration's seeds; null for all of them."""
    nulls: Annotated[list[Identifier], Unique] = []
    """Methods that run only without anchors, as null baselines: rows to compare scores with. Effects and
    verdicts leave them out."""
    null_protocols: Names | None = None
    """The protocols that null baselines run under; null for the protocols of the methods."""

    @property
    def all_methods(self) -> list[str]:
        """Return the methods, then the null baselines."""
        return [*self.methods, *self.nulls]

    @property
    def all_protocols(self) -> list[str]:
        """Return the protocols of methods and of null baselines."""
        return list(dict.fromkeys([*self.protocols, *(self.null_protocols or [])]))

    @property
    def null_runs(self) -> list[tuple[str, str]]:
        """Return method and protocol of every null baseline."""
        return list(product(self.nulls, self.null_protocols or self.protocols))


class RunTable(Compared):
    """A table of runs on one source, which may vary one parameter."""

    caption = (
        "Share of all features that the encoder (above) and the decoder (below) recover by cosines above .9, over the "
        "swept parameter. If the paper has another value, it is in brackets. Hollow markers are the paper’s numbers, "
        "by its own rule. Anchored features count too: where the encoder’s curve with anchors equals their share of "
        "all features, it found no other."
    )

    source: Identifier
    sweep: Sweep | None = None
    """The parameter that the table varies; null for none."""

    def seeds_of(self, study: Study) -> list[int]:
        """Return the table's seeds, or the study's seeds if the table sets none."""
        return self.seeds or study.seeds

    def sweeps_source(self, study: Study) -> bool:
        """Return whether the swept parameter is a setting of the source."""
        # run holds settings of runs, which are swept by their own names; like is resolved when a file is loaded
        swept = type(study.source(self.source)).model_fields.keys() - {"run", "like"}
        return self.sweep is not None and self.sweep.parameter in swept

    def sources(self, study: Study) -> list[str]:
        """Return the source of each point of the table."""
        if self.sweep is None:
            return [self.source]
        parameter, values = self.sweep.parameter, self.sweep.values
        if not self.sweeps_source(study):
            return [self.source] * len(values)
        source_value = getattr(study.source(self.source), parameter)
        return [
            self.source if value == source_value else variant_name(self.source, parameter, value) for value in values
        ]

    def points(self, study: Study) -> list[Point]:
        """Return the points of the table's sweep, in its order; one point without a value if it sweeps nothing.

        A parameter of the source makes variants of the source, a parameter of runs makes variants of the methods. No
        variant is made of a source or method that has the value already, so that tables share its runs.
        """
        if self.sweep is None:
            return [Point(None, None, self.source, {method: method for method in self.all_methods})]
        parameter, values = self.sweep.parameter, self.sweep.values
        points = []
        for value, printed, source in zip(values, self.sweep.paper or values, self.sources(study), strict=True):
            swept = {method: method for method in self.all_methods}
            if not self.sweeps_source(study):
                for method in self.all_methods:
                    protocol_values = [
                        setting_of(study, source, method, protocol, parameter) for protocol in self.all_protocols
                    ]
                    if any(protocol_value != value for protocol_value in protocol_values):
                        swept[method] = variant_name(method, parameter, value)
            points.append(Point(value, printed, source, swept))
        return points

    def layout(self, study: Study) -> Layout:
        """Return the rows of the table: points, methods, null baselines, anchorings, protocols and seeds."""
        parameter = None if self.sweep is None else self.sweep.parameter
        seeds = self.seeds_of(study)
        return Layout(
            parameter, self.points(study), self.methods, self.null_runs, self.anchorings, self.protocols, seeds
        )

    def cells(self, study: Study) -> list[Cell]:
        rows = list(product(self.methods, self.protocols, self.anchorings))
        rows += [(method, protocol, "none") for method, protocol in self.null_runs]
        return [
            Cell(point.source, point.methods[method], protocol, anchoring, seed)
            for point in self.points(study)
            for method, protocol, anchoring in rows
            for seed in self.seeds_of(study)
        ]

    def used(self, study: Study) -> Study:
        # also the source and methods that variants derive from, in case they have none of the swept values
        points = self.points(study)
        sources = {self.source, *(point.source for point in points)}
        methods = {*self.all_methods, *(variant for point in points for variant in point.methods.values())}
        return partial_study(study, sources, methods, set(self.all_protocols), set(self.anchorings))

    def anchorings_on(self, study: Study, source: str) -> set[str]:
        return set(self.anchorings) if source in self.sources(study) else set()

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        for point in self.points(study):
            if self.sweep is None or point.value is None:
                continue
            parameter = {self.sweep.parameter: point.value}
            if point.source not in study.all_sources():
                study = study.with_source(point.source, study.source(self.source).model_copy(update=parameter))
            for method, variant in point.methods.items():
                if variant in study.methods:
                    continue
                methods = {**study.methods, variant: study.methods[method].model_copy(update=parameter)}
                ways = dict(study.protocols)
                for name, way in ways.items():
                    if method in way.methods and variant not in way.methods:
                        variants = way.methods | {variant: way.methods[method].model_copy(update=parameter)}
                        ways[name] = way.model_copy(update={"methods": variants})
                study = study.model_copy(update={"methods": methods, "protocols": ways})
        return study

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        every = study.all_sources()
        if path.rpartition(".")[-1].startswith(OWN):
            yield from unknown(f"{path}.source", [self.source], every, "a source")
        else:
            labelled = [name for name, source in every.items() if source.n_features is not None or source.is_labelled]
            yield from unknown(f"{path}.source", [self.source], labelled, "a bench or a source with class_means")
        yield from unknown(f"{path}.methods", self.methods, study.methods, METHOD)
        yield from unknown(f"{path}.nulls", self.nulls, study.methods, METHOD)
        for null in self.nulls:
            if null in self.methods:
                yield f"{path}.nulls: {null} is one of methods, too; leave it out of one of the two"
        yield from unknown(f"{path}.protocols", self.protocols, study.protocols, PROTOCOL)
        yield from unknown(f"{path}.null_protocols", self.null_protocols or [], study.protocols, PROTOCOL)
        yield from unknown(f"{path}.anchorings", self.anchorings, ["none", *study.anchorings], ANCHORING)
        yield from unknown(f"{path}.seeds", self.seeds or [], study.seeds, "one of seeds")

    def unsound_sweep(self, path: str, study: Study) -> Iterator[str]:
        if self.sweep is None:
            return
        parameter, path = self.sweep.parameter, f"{path}.sweep"
        if not self.sweeps_source(study):
            plugin_settings = own_settings("activation", "loss term")
            if parameter not in Config().to_dict() | plugin_settings:
                kind = f"sources.{study.source(self.source).kind}"
                yield f"{path}.parameter: {parameter} is a setting neither of {kind} nor of methods"
            if parameter in plugin_settings:
                yield from self._without_own(path, study)
            for method in self.all_methods:
                if study.methods[method].is_solver:
                    yield f"{path}.parameter: {parameter} is no setting of the solver {method}; sweep the source"
            for method in self.all_methods:
                if study.methods[method].is_imported:
                    yield f"{path}.parameter: {parameter} is no setting of the imported {method}; sweep the source"
                if study.methods[method].is_peer and parameter not in PeerConfig().to_dict():
                    yield f"{path}.parameter: {parameter} is no setting of the peer {method}"
        if self.sweep.paper is not None and len(self.sweep.paper) != len(self.sweep.values):
            printed, ours = len(self.sweep.paper), len(self.sweep.values)
            yield (
                f"{path}.paper: {printed} values of the paper for {ours} of ours, expected one for each; or write "
                "paper: null, to show the paper's numbers only beside equal values"
            )

    def _without_own(self, path: str, study: Study) -> Iterator[str]:
        """Yield an error for each method that does not use the plugin whose setting the table sweeps."""
        assert self.sweep is not None
        for method in self.all_methods:
            try:
                for protocol in self.all_protocols:
                    setting_of(study, self.source, method, protocol, self.sweep.parameter)
            except KeyError:
                yield f"{path}.parameter: {self.sweep.parameter} is no setting of the method {method}; leave it out"

    def _missed_values(self, path: str, study: Study) -> Iterator[str]:
        for point in self.points(study):
            if self.sweep is None or point.value is None:
                continue
            parameter = self.sweep.parameter
            if self.sweeps_source(study):
                values = {f"sources.{point.source}": getattr(study.source(point.source), parameter)}
            else:
                values = {
                    f"methods.{method} under protocols.{protocol}": setting_of(
                        study, point.source, method, protocol, parameter
                    )
                    for method in point.methods.values()
                    for protocol in self.all_protocols
                }
            for where, value in values.items():
                if value != point.value:
                    yield f"{path}.sweep.values: {point.value}, but {where} has {value}"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        yield from self._missed_values(path, study)
        n_anchored = len(set(self.anchorings) - {"none"})
        if n_anchored > 1 and ("none" in self.anchorings or self.nulls):
            yield (
                f"{path}.anchorings: runs without anchors are compared on the features that anchors do not give"
                f" away; expected one anchoring beside none, found {n_anchored}"
            )
