"""Where in a language model a dictionary was fitted, from its provenance."""

from collections.abc import Mapping
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.extraction.config import LanguageSource
from sdlcore.settings import Pair

ARROW = "->"
"""Between the two sites of a transcoder's place."""


def fitted_place(provenance: Mapping[str, Any], pair: Pair) -> dict[str, Any] | None:
    """Return layer and place, as `splice` takes them; None if the provenance contains none.

    Raises
    ------
    SourceError
        If the activations are not a language model's, or their provenance lacks a setting.
    """
    activations = provenance.get("activations")
    if not activations:
        return None
    where = activations.get("where")  # recorded without a store, as by `SparseCoder` in a loop over a model
    if where is None:
        try:
            where = where_of(LanguageSource.from_dict(activations["source"]), pair)
        except (LookupError, TypeError, ValueError) as error:
            raise SourceError(f"the dictionary's activations are not from a language model ({error})") from error
    return dict(where)


def known_place(provenance: Mapping[str, Any], pair: Pair) -> dict[str, Any] | None:
    """Return layer and place as `fitted_place` does, or None where it raises an error."""
    try:
        return fitted_place(provenance, pair)
    except SourceError:
        return None


def where_of(source: LanguageSource, pair: str) -> dict[str, Any]:
    """Return the layer and the place of a dictionary of this ``pair``, from the source that it was trained on."""
    part = source.site
    if pair == "sae":
        return {"layer": source.sites["input"].block or source.layer, "place": "mlp_input" if part == "mlp" else part}
    if source.layers is not None:
        return {"layer": tuple(source.layers), "place": None if part == "residual" else part}
    return {
        "layer": source.layer,
        "place": part if source.target_site is None else f"{part}{ARROW}{source.target_site}",
    }
