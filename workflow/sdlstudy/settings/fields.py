"""Field types that several settings of a study use."""

from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from sdlcore.settings import AsGiven, Seed, Settings, Unique

__all__ = ["AnchoringName", "AsGiven", "Identifier", "Names", "Numbers", "Seeds", "Settings", "Unique", "left_out"]


def left_out() -> Any:
    """Return the default of a field that a written configuration omits unless it is set."""
    return Field(default=None, exclude_if=lambda value: value is None)


Identifier = TypeAliasType(
    "Identifier",
    Annotated[
        str,
        Field(
            max_length=50,
            pattern=r"^[a-z][a-z0-9_]*\Z",
            description="lower-case letters, digits and underscores, beginning with a letter",
        ),
    ],
)
Names = Annotated[list[Identifier], MinLen(1), Unique]
Seeds = Annotated[list[Seed], MinLen(1), Unique]
Numbers = Annotated[list[Annotated[float, AsGiven]], MinLen(1), Unique]


def _no_none(name: str) -> str:
    if name == "none":
        raise PydanticCustomError("none", "none is reserved for runs without anchors")
    return name


AnchoringName = Annotated[Identifier, AfterValidator(_no_none)]
"""The name of an anchoring. The name "none" is reserved for runs without anchors."""
