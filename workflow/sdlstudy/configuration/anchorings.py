"""Check anchorings: their names, their numbers, and whether a run can use them."""

from collections.abc import Iterator

from sdlcore.config import ModelConfig
from sdlstudy.settings.cells import Cell, solver_settings
from sdlstudy.settings.names import unknown
from sdlstudy.settings.study import Discover, Study


def unknown_in_anchorings(study: Study) -> Iterator[str]:
    """Yield the invalid names and numbers in the settings of anchorings."""
    solvers = [name for name, method in study.methods.items() if method.is_solver]
    for name, anchoring in study.anchorings.items():
        discover, n_anchors = anchoring.discover, anchoring.n_anchors
        if isinstance(n_anchors, float) and (n_anchors >= 1 or discover is not None):
            expected = "an integer" if discover is not None else "an integer, or a share below 1"
            yield f"anchorings.{name}.n_anchors: expected {expected}, found {n_anchors}"
        if anchoring.anchor_cosine is not None and "lambda_anchor" in anchoring.model_fields_set:
            strength = anchoring.lambda_anchor
            yield f"anchorings.{name}.lambda_anchor: {strength}, but anchor_cosine chooses it; leave it out"
        if discover is not None and anchoring.features is not None:
            yield f"anchorings.{name}.features: discovered anchors are drawn from no features; leave it out"
        if discover is not None:
            path = f"anchorings.{name}.discover.method"
            yield from unknown(path, [discover.method], solvers, "a method that is a solver")
        elif n_anchors is None:
            yield f"anchorings.{name}.n_anchors: expected a number; null is for discovered anchors only"


def unsound_anchors(study: Study, cell: Cell, anchoring: str, model: ModelConfig) -> Iterator[str]:
    """Yield why a run cannot train with an anchoring, or be evaluated by its anchors. Names were checked before.

    Parameters
    ----------
    study
        The study that contains the run.
    cell
        The run.
    anchoring
        The run's anchoring or, for a run without anchors, the anchoring that divides its features.
    model
        The run's model settings.
    """
    settings, features = study.anchorings[anchoring], study.source(cell.source).n_features
    limits: list[tuple[int, str]] = [(model.n_q, "latents")]
    if settings.discover is not None:
        yield from _unsound_discovery(study, cell, anchoring, settings.discover, model.pair)
    elif settings.features == "parents":
        bench = study.bench(cell.source)
        hierarchy = None if bench is None else bench.hierarchy
        if hierarchy is None:
            yield f"anchorings.{anchoring}.features: {cell.source} has no parents; expected a bench with hierarchy"
        else:
            limits = [(hierarchy.parents, f"parents in {cell.source}"), *limits]
    elif features is not None:
        limits = [(features, f"features of {cell.source}"), *limits]
    elif not study.source(cell.source).is_labelled:
        reason = f"{cell.source} has neither true features nor classes to draw anchors from"
        yield f"anchorings.{anchoring}: {reason}; set discover"
    for limit, name in limits:
        if settings.n_anchors is not None and settings.n_anchors > limit:
            yield f"anchorings.{anchoring}.n_anchors: {settings.n_anchors} anchors, but only {limit} {name}"


def _unsound_discovery(study: Study, cell: Cell, anchoring: str, discover: Discover, pair: str) -> Iterator[str]:
    method, source = discover.method, study.source(cell.source)
    path = f"anchorings.{anchoring}.discover.method"
    try:
        solver_pair = solver_settings(study.methods[method]).pair
    except ValueError as error:
        yield f"methods.{method}: {error}"
        return
    if solver_pair == "transcoder":
        yield f"{path}: {method} finds directions of the target alone; expected a solver with pair sae or crosscoder"
    elif solver_pair == "crosscoder" and not source.has_target:
        yield f"{path}: {method} is a crosscoder, but {cell.source} has no target; expected a solver with pair sae"
    elif solver_pair == "sae" and pair != "sae":
        needed = f"{cell.method} is a {pair} and needs directions of the target; expected a solver with pair crosscoder"
        yield f"{path}: {method} finds directions of the input alone, but {needed}"
    if source.is_streamed:
        place = f"sources.{source.kind}.{cell.source}.stream"
        yield f"{place}: anchors are discovered on a stored source; set it to false"
