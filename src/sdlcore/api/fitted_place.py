"""Where in a language model a dictionary was fitted, from its provenance."""

from collections.abc import Mapping
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.extraction.made import Made
from sdlcore.inside.hooks import where_of
from sdlcore.settings import Pair


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
    return dict(where or where_of(Made.read("the dictionary", activations).source, pair))


def known_place(provenance: Mapping[str, Any], pair: Pair) -> dict[str, Any] | None:
    """Return layer and place as `fitted_place` does, or None where it raises an error."""
    try:
        return fitted_place(provenance, pair)
    except SourceError:
        return None
