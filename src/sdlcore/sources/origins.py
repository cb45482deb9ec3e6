"""Check whether stores were made with the current settings of their source."""

from collections.abc import Iterable

from sdlcore.data.reading import provenance_of_rows
from sdlcore.settings import Settings


def were_made_by(stores: Iterable[str], source: Settings) -> bool:
    """Return whether all stores of a source exist and were made with exactly these settings.

    A store without recorded settings counts as made with other settings.
    """
    return all(_was_made_by(store, source) for store in stores)


def _was_made_by(store: str, source: Settings) -> bool:
    try:
        recorded = provenance_of_rows(store).get("source")
        return isinstance(recorded, dict) and type(source).from_dict(recorded) == source
    except (OSError, LookupError, ValueError, TypeError):  # missing, damaged or made with other settings
        return False
