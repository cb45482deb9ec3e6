"""What a configuration takes from the default: all of it, or, where it has activations of its own, no table of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from sdlcore.study.configuration.run_keys import BENCH_TABLES, OWN
from sdlcore.study.configuration.variants import merge, without_like

KINDS = ("clip", "llama", "file")
"""Kinds of sources that bring activations of one's own; one more bench is a variant of what the default asks for."""
PARTS = ("discovery", "frontier", *BENCH_TABLES)


def over_default(default: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` laid over the default.

    Where it has activations of its own, a source of one of `KINDS` that the default lacks, tables, figures and other
    parts of the default that it does not name are left out. Those sources that nothing then asks for get a table of
    their own as ``own`` says, and the first of them the figure of resampling.

    Parameters
    ----------
    default, given
        Of the right shape, once merged.
    """
    merged = merge(default, given)
    own = [
        source
        for kind in KINDS
        for source in given.get("sources", {}).get(kind, {})
        if source not in default.get("sources", {}).get(kind, {})
    ]
    if not own:
        return merged
    for part in ("tables", "figures"):
        named = given.get(part, {})
        merged[part] = {name: spec for name, spec in merged.get(part, {}).items() if name in named}
    merged |= dict.fromkeys(part for part in PARTS if part not in given)
    asked = set(_asked(merged))
    alone = [source for source in own if source not in asked]
    if merged.get("own") is not None:
        merged["tables"] |= {f"{OWN}{source}": _own_table(merged, source) for source in alone}
    figure6 = default.get("figures", {}).get("figure6")
    if alone and figure6 is not None and "figure6" not in merged["figures"]:
        merged["figures"]["figure6"] = figure6 | {"source": alone[0]}
    return merged


def _asked(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the sources that tables and figures name."""
    shown = [*config["tables"].values(), *config["figures"].values(), config.get("frontier")]
    yield from (spec["source"] for spec in shown if spec is not None and "source" in spec)
    for part in ("discovery", *BENCH_TABLES):
        yield from (config.get(part) or {}).get("runs", {})


def _own_table(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the table of a source; where its samples have no classes, without anchors that are drawn from them."""
    spec, sources = config["own"], without_like({"sources": config["sources"]})["sources"]
    kind = next(kind for kind in KINDS if source in sources.get(kind, {}))
    labelled = kind == "clip" or sources[kind][source].get("labels") is not None
    known = config.get("anchorings", {})
    kept = [name for name in spec["anchorings"] if labelled or name == "none" or "discover" in known.get(name, {})]
    return spec | {"source": source, "anchorings": kept or ["none"]}
