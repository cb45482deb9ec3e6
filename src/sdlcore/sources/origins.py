"""Tell whether stores were made by the settings that their source still has."""

from collections.abc import Iterable

from sdlcore.data.reading import provenance_of_rows
from sdlcore.errors import StoreError
from sdlcore.settings import FromJson


def were_made_by(stores: Iterable[str], source: FromJson) -> bool:
    """Tell whether all of a source's stores are there, and were made by just these settings, so from these files.

    What a store does not say counts as another origin.
    """
    return all(_was_made_by(store, source) for store in stores)


def _was_made_by(store: str, source: FromJson) -> bool:
    try:
        found = provenance_of_rows(store).get("source")
        return isinstance(found, dict) and type(source).from_dict(found) == source
    except (OSError, StoreError, ValueError, TypeError):  # none there, a damaged one, one of other settings
        return False
