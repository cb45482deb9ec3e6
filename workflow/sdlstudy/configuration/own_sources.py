"""Merge a configuration over the default. Leave out the default's tables if it adds its own activations."""

from collections.abc import Iterator

from sdlcore.pipeline import Json, source_gives
from sdlstudy.configuration.variants import without_like
from sdlstudy.products.registry import registered
from sdlstudy.products.run_table import OWN
from sdlstudy.settings.sources import Sources
from sdlstudy.settings.trees import Tree, branch, merge

KINDS = tuple(kind for kind in Sources.model_fields if kind not in ("bench", "synth"))
"""Kinds of sources that contain the user's own activations. A new bench is only a variant of the default's."""


def over_default(default: Tree, config: Tree) -> dict[str, Json]:
    """Merge ``config`` over the default.

    If ``config`` adds its own activations (a source of one of `KINDS` that the default lacks), the result contains only
    the tables, figures and other products that ``config`` names. Each new source that no product uses gets the table
    that ``own`` describes. The first of these sources also gets the figure of resampling.

    Parameters
    ----------
    default, config
        Two configurations that are valid in shape when merged.
    """
    merged = merge(default, config)
    new_sources = [
        source
        for kind in KINDS
        for source in branch(config, "sources", kind)
        if source not in branch(default, "sources", kind)
    ]
    if not new_sources:
        return merged
    tables, figures = (
        {name: spec for name, spec in branch(merged, key).items() if name in branch(config, key)}
        for key in ("tables", "figures")
    )
    merged |= {"tables": tables, "figures": figures}
    merged |= dict.fromkeys(key for key in registered() if "." not in key and key not in config)
    used_sources = set(_used_sources(merged))
    unused_sources = [source for source in new_sources if source not in used_sources]
    if merged.get("own") is not None:
        merged["tables"] = tables | {f"{OWN}{source}": _own_table(merged, source) for source in unused_sources}
    figure6 = branch(default, "figures", "figure6")
    if unused_sources and figure6 and "figure6" not in figures:
        merged["figures"] = figures | {"figure6": figure6 | {"source": unused_sources[0]}}
    return merged


def _used_sources(config: Tree) -> Iterator[str]:
    """Yield the sources that tables and figures name."""
    places = [(group, name) for group in ("tables", "figures") for name in branch(config, group)]
    for place in [*places, *((key,) for key in registered() if "." not in key)]:
        spec = branch(config, *place)
        source = spec.get("source")
        yield from [source] if isinstance(source, str) else branch(spec, "runs")


def _own_table(config: Tree, source: str) -> dict[str, Json]:
    """Return the table of a source, without anchors drawn from classes if its samples have no classes."""
    spec, written = branch(config, "own"), without_like({"sources": config["sources"]})
    kind = next(kind for kind in KINDS if source in branch(written, "sources", kind))
    settings = branch(written, "sources", kind, source)
    labelled = kind == "clip" or settings.get("labels") is not None or source_gives(settings.get("source"), "labels")
    anchorings = spec.get("anchorings")
    names = [name for name in anchorings if isinstance(name, str)] if isinstance(anchorings, list) else []
    usable_names = [n for n in names if labelled or n == "none" or "discover" in branch(config, "anchorings", n)]
    return spec | {"source": source, "anchorings": usable_names or ["none"]}
