"""Cross-field validation: names that refer to nothing, and runs whose merged settings are invalid.

Each problem is one line that begins with the path of the key. A check is here only if a run would otherwise silently do
something else, or fail after hours.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from peers.settings import PeerConfig
from sdlcore.config import Config, check_division
from sdlcore.interop.settings import ImportConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.suggestions import did_you_mean
from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.cells import Cell, discovering_solver, layers, run_settings
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.names import METHOD, unknown
from sdlstudy.settings.runs import KINDS

UNSAFE = re.compile(r"^-|[\x00-\x1f\x7f{}]|<[a-z][a-z0-9_]*>")
"""Commands read a leading dash as an option; Snakemake replaces braces and <name> in every path, after quoting it."""
SAFE = "a line without braces and <name>, and no dash at its start"


def unsafe_text(tree: Any, path: str = "") -> Iterator[str]:
    """Yield the keys and texts in a tree that are unsafe in a path or a shell, each with the path of its key."""
    parts = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in parts:
        inside = f"{path}.{key}".removeprefix(".")
        for text in (key, child):
            if isinstance(text, str) and UNSAFE.search(text):
                yield f"{inside}: expected {SAFE}; found {text!r:.100}"
        yield from unsafe_text(child, inside)


def unknown_names(study: Configuration) -> Iterator[str]:
    """Yield the names that refer to nothing, before sweeps are expanded."""
    names = [name for _, group in study.sources for name in group]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"sources: {name} is used under two kinds; names of sources are unique"
    for protocol, settings in study.protocols.items():
        yield from unknown(f"protocols.{protocol}.methods", settings.methods, study.methods, METHOD)
    for name, method in study.methods.items():
        path = f"methods.{name}.warm_start"
        if method.warm_start is None:
            if method.settings is CodesConfig:
                yield f"{path}: missing; search needs the method whose dictionary gets new codes"
        elif method.settings in (PeerConfig, ImportConfig):
            yield f"{path}: {KINDS[method.settings]} start from no other dictionary; leave it out"
        else:
            yield from unknown(path, [method.warm_start], study.methods, METHOD)
            start = study.methods.get(method.warm_start)
            if method.settings is CodesConfig and start and start.settings is not Config:
                yield f"{path}: {method.warm_start} is none of the trainings, whose batches a search for codes reads"
    for path, product in study.products_by_path().items():
        yield from product.unknown_names(path, study)
    solvers = [name for name, method in study.methods.items() if method.settings is SolverConfig]
    for name, anchoring in study.anchorings.items():
        if anchoring.discover is not None:
            path = f"anchorings.{name}.discover.method"
            yield from unknown(path, [anchoring.discover.method], solvers, "a method that is a solver")


def inconsistent_runs(study: Configuration) -> Iterator[str]:
    """Check the settings of every run in tables and figures, once for all seeds. Names were checked before."""
    products = study.products_by_path()
    runs = [cell for product in products.values() for cell in product.cells(study)]
    cells = dict.fromkeys(replace(cell, seed=0) for cell in runs)
    for cell in cells:
        yield from _inconsistent_run(study, cell)
    yield from _unsound_unused_methods(study, {cell.method for cell in cells})
    for path, product in products.items():
        yield from product.unsound(path, study)


def _unsound_unused_methods(study: Configuration, used: set[str]) -> Iterator[str]:
    """Yield the methods that no run uses and that are invalid alone: often, a misspelt name of another method."""
    for name, method in study.methods.items():
        if name not in used and "activation" not in method.run:
            try:
                method.settings.from_dict(method.run)
            except ValueError as error:
                hint = did_you_mean(name, [other for other in study.methods if other != name])
                yield f"methods.{name}: {error}; no run uses this method{hint}"


def _inconsistent_run(study: Configuration, cell: Cell) -> Iterator[str]:
    source, parts = study.source(cell.source), layers(study, cell.source, cell.method, cell.protocol)
    path = f"methods.{cell.method} (with sources.{cell.source}"
    path += ")" if study.methods[cell.method].is_given else f".run and protocols.{cell.protocol})"
    try:
        run = run_settings(study, cell)
    except ValueError as error:
        key = str(error).partition(":")[0]
        giving = next((place for place, layer in reversed(parts.items()) if key in layer), None)
        yield f"{giving}.{error}" if giving else f"{path}: {error}"
        return
    if not isinstance(run, Config):
        if cell.anchoring != "none":
            yield f"{path}: {KINDS[type(run)]} take no anchors; use anchorings: [none]"
        if source.is_streamed and not isinstance(run, CodesConfig):
            yield f"{path}: {KINDS[type(run)]} read stores; set sources.{source.kind}.{cell.source}.stream to false"
    elif problem := check_division(run, study.processes):
        yield f"{path}: {problem}"
    elif run.contrast and source.kind != "language":
        yield f"{path}: contrast compares neighbouring tokens, which only sources of kind language have"
    sites = source.n_sites
    if (run.pair == "transcoder" and sites != 2) or (run.pair == "crosscoder" and sites < 2):
        targets = "n_r of a bench, target of a file or layers of a language model"
        yield f"{path}: pair {run.pair} needs a source with a target ({targets}); {cell.source} has {sites} sites"
    if cell.anchoring != "none" and isinstance(run, Config):
        yield from _unsound_anchors(study, cell, run)


def _unsound_anchors(study: Configuration, cell: Cell, run: Config) -> Iterator[str]:
    """Yield why a run cannot train with its anchoring."""
    settings, source, path = study.anchorings[cell.anchoring], study.source(cell.source), f"anchorings.{cell.anchoring}"
    most, bench = min(run.n_q, source.n_features or run.n_q), study.sources.bench.get(cell.source)
    try:
        solver = discovering_solver(study, cell.anchoring)
    except ValueError as error:
        yield f"{path}.discover.method: {error}"
        return
    if solver is not None:
        most = run.n_q
        if solver.pair == "transcoder" or (solver.pair == "sae" and run.pair != "sae"):
            yield f"{path}.discover.method: a solver of pair {solver.pair} finds no anchors for pair {run.pair}"
        if source.is_streamed:
            yield f"{path}.discover: solvers read stores; set sources.{source.kind}.{cell.source}.stream to false"
    elif settings.features == "parents":
        if bench is None or bench.hierarchy is None:
            yield f"{path}.features: {cell.source} has no parents; expected a bench with hierarchy"
            return
        most = min(most, bench.hierarchy.parents)
    elif source.n_features is None and not source.is_labelled:
        yield f"{path}: {cell.source} has neither true features nor classes to draw anchors from; set discover"
    if settings.n_anchors is not None and settings.n_anchors > most:
        yield f"{path}.n_anchors: {settings.n_anchors} anchors, but {cell.source} and {cell.method} allow {most}"
