"""Recipes of streams: small JSON files with the model, the text, and the document at which training begins."""

import json
from pathlib import Path
from typing import NamedTuple

from sdlcore.data.pairs import all_sites, input_target_more
from sdlcore.errors import SourceError
from sdlcore.settings import Json
from sdlcore.storage.files import write_json

FORMAT = "sdlcore activation stream"
VERSION = 1


class Recipe(NamedTuple):
    """The source of a training's streamed rows."""

    widths: tuple[int, ...]
    """Dimensions of the sites."""
    model: str
    text: str
    """Paths or names of model and text."""
    first_place: int
    """Place of the document that training begins with."""
    buffer_rows: int
    """Number of rows that are kept in memory. Batches are drawn from these rows."""
    provenance: dict[str, Json]
    """Provenance of the rows."""


def save_recipe(path: str | Path, recipe: Recipe) -> None:
    """Write a recipe to a file, or replace the file."""
    n_p, n_r, more = input_target_more(recipe.widths)
    written = {"n_p": n_p, "n_r": n_r, **({"more": more} if more else {})}
    written |= {name: value for name, value in recipe._asdict().items() if name != "widths"}
    write_json(path, {"format": FORMAT, "version": VERSION, **written})


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    SourceError
        If the file is not a recipe of this version.
    """
    try:
        recipe = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: not a readable recipe of a stream ({error})") from error
    if not isinstance(recipe, dict) or recipe.get("format") != FORMAT or recipe.get("version") != VERSION:
        raise SourceError(f"{path}: not an {FORMAT} of version {VERSION}; make it anew")
    try:
        widths = all_sites(recipe["n_p"], recipe["n_r"], recipe.get("more", ()))
        return Recipe(widths, *(recipe[name] for name in Recipe._fields[1:]))
    except KeyError as error:
        raise SourceError(f"{path}: its {error} is missing; make it anew") from error
