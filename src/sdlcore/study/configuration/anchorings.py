"""What a configuration can say wrong of anchors: where they come from, and who has a use for them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sdlcore.run import ModelConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.study.configuration.run_keys import Cell, is_labelled, is_solver, source_kind, source_settings
from sdlcore.study.configuration.yaml_files import did_you_mean


def unknown(path: str, used: Iterable[Any], known: Iterable[Any], expected: str) -> Iterator[str]:
    """Yield the names used that are not known, each led by the path of the key."""
    known = list(known)
    for name in used:
        if name not in known:
            choices = f" ({', '.join(map(str, known))})" if known else ", of which there is none"
            yield f"{path}: {name} is not {expected}{choices}{did_you_mean(str(name), map(str, known))}"


def unknown_in_anchorings(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the names, and the numbers, of anchorings and of the table that compares them."""
    methods = config["methods"]
    solvers = [method for method in methods if is_solver(config, method)]
    for name, asked in config["anchorings"].items():
        discover, n_anchors = asked.get("discover"), asked["n_anchors"]
        if isinstance(n_anchors, float) and (n_anchors >= 1 or discover is not None):
            wanted = "an integer" if discover is not None else "an integer, or a share below 1"
            yield f"anchorings.{name}.n_anchors: expected {wanted}, found {n_anchors}"
        if discover is not None:
            path = f"anchorings.{name}.discover.method"
            yield from unknown(path, [discover["method"]], solvers, "a method that is a solver")
        elif asked["n_anchors"] is None:
            yield f"anchorings.{name}.n_anchors: expected a number; only discovered anchors can be all that there are"
    spec = config["discovery"]
    if spec is None:
        return
    sources = [source for kind in config["sources"].values() for source in kind]
    yield from unknown("discovery.runs", spec["runs"], sources, "a source")
    for source, asked in spec["runs"].items():
        path = f"discovery.runs.{source}"
        yield from unknown(f"{path}.methods", asked["methods"], methods, "a key of methods")
        yield from unknown(f"{path}.protocols", asked["protocols"], config["protocols"], "a key of protocols")
        yield from unknown(f"{path}.anchorings", asked["anchorings"], config["anchorings"], "a key of anchorings")


def unsound_anchors(
    config: Mapping[str, Any], cell: Cell, anchoring: str, model: ModelConfig, has_target: bool
) -> Iterator[str]:
    """Yield why a run cannot have an anchoring, or be judged by it, whose names are right.

    Parameters
    ----------
    config
        The configuration.
    cell
        The run.
    anchoring
        Its anchoring, or that which divides its features.
    model
        Its settings.
    has_target
        Whether its source has a second representation.
    """
    asked, source = config["anchorings"][anchoring], source_settings(config, cell.source)
    n_anchors, discover, path = asked["n_anchors"], asked.get("discover"), f"anchorings.{anchoring}"
    limits = [(model.n_q, "latents")]
    if discover is None:
        if "n" in source:
            limits = [(source["n"], f"features of {cell.source}"), *limits]
        elif not is_labelled(source):
            yield f"{path}: {cell.source} has neither true features nor classes to draw anchors from; set discover"
    else:
        yield from _unsound_discovery(config, cell, anchoring, model.pair, has_target)
    for limit, name in limits:
        if n_anchors is not None and n_anchors > limit:
            yield f"{path}.n_anchors: {n_anchors} anchors, but only {limit} {name}"


def _unsound_discovery(
    config: Mapping[str, Any], cell: Cell, anchoring: str, pair: str, has_target: bool
) -> Iterator[str]:
    method = config["anchorings"][anchoring]["discover"]["method"]
    path = f"anchorings.{anchoring}.discover.method"
    try:
        found = SolverConfig.from_dict({k: v for k, v in config["methods"][method].items() if k != "warm_start"}).pair
    except ValueError as error:
        yield f"methods.{method}: {error}"
        return
    if found == "transcoder":
        yield f"{path}: {method} finds directions of the target alone; expected a solver with pair sae or crosscoder"
    elif found == "crosscoder" and not has_target:
        yield f"{path}: {method} is a crosscoder, but {cell.source} has no target; expected a solver with pair sae"
    elif found == "sae" and pair != "sae":
        needed = f"{cell.method} is a {pair} and needs those of the target; expected a solver with pair crosscoder"
        yield f"{path}: {method} finds directions of the input alone, but {needed}"
    kind = source_kind(config, cell.source)
    if config["sources"][kind][cell.source].get("stream"):
        yield f"sources.{kind}.{cell.source}.stream: anchors are discovered on a stored source; set it to false"
