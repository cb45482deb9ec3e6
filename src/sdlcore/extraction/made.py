"""Read how a language model's rows were extracted, from the provenance of their store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sdlcore.errors import SourceError
from sdlcore.extraction.config import LanguageSource
from sdlcore.settings import Json


class Made(NamedTuple):
    """Settings that rows were extracted with."""

    source: LanguageSource
    model_commit: str | None
    """Commit of a model at the hub; None for other models."""
    text_commit: str | None
    """Commit of a data set at the hub; None for other texts."""
    separator: int
    """Id of the separator token."""
    largest_norm: dict[str, float]
    """Norm of a column's activations above which a row counts as an outlier."""

    @classmethod
    def read(cls, path: str | Path, provenance: Mapping[str, Json]) -> "Made":
        """Read the settings of an extraction from the provenance of a store or of a recipe.

        Raises
        ------
        SourceError
            If the provenance lacks a setting; the message names the file.
        """
        facts: Any = provenance
        try:
            return cls(
                source=LanguageSource.from_dict(facts["source"]),
                model_commit=facts["model"].get("commit"),
                text_commit=facts["text"].get("commit"),
                separator=int(facts["separator"]["id"]),
                largest_norm={column: float(limit) for column, limit in facts["largest_norm"].items()},
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise SourceError(f"{path}: its provenance lacks a setting ({error!r}); extract again") from error


class Part(NamedTuple):
    """The part of its text that a store covers."""

    first_place: int
    """Place of the document that its first context begins in."""
    contexts: int

    @classmethod
    def read(cls, path: str | Path, provenance: Mapping[str, Json]) -> "Part":
        """Read the part from the provenance of a store. Raises as `Made.read` does."""
        facts: Any = provenance
        try:
            return cls(int(facts["first_place"]), int(facts["contexts"]))
        except (LookupError, TypeError, ValueError) as error:
            raise SourceError(
                f"{path}: its provenance lacks the part of the text ({error!r}); extract again"
            ) from error
