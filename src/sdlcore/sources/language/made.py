"""Read from a store's provenance how a language model's rows were made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sdlcore.errors import SourceError
from sdlcore.settings import Json
from sdlcore.sources.language.settings import LanguageSource


class Made(NamedTuple):
    """How rows were made."""

    source: LanguageSource
    model_commit: str | None
    """Of a model of the hub."""
    text_commit: str | None
    """Of a data set of the hub."""
    separator: int
    """Id of the separator token."""
    largest_norm: dict[str, float]
    """Norm of a column's activations above which a row is an outlier."""

    @classmethod
    def read(cls, path: str | Path, provenance: Mapping[str, Json]) -> "Made":
        """Read this from the provenance of a store or of a recipe.

        Raises
        ------
        SourceError
            Naming the file, if its provenance lacks any of it.
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
            raise SourceError(f"{path}: does not say how its rows were made ({error!r}); make it anew") from error


class Part(NamedTuple):
    """The part of its text that a store covers."""

    first_place: int
    """Place of the document that its first context begins in."""
    contexts: int

    @classmethod
    def read(cls, path: str | Path, provenance: Mapping[str, Json]) -> "Part":
        """Read this from the provenance of a store; errors as `Made.read`."""
        facts: Any = provenance
        try:
            return cls(int(facts["first_place"]), int(facts["contexts"]))
        except (LookupError, TypeError, ValueError) as error:
            raise SourceError(f"{path}: does not say where in its text it is from ({error!r}); make it anew") from error
