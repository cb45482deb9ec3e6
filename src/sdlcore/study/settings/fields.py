"""Types that several settings of a study share."""

from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from sdlcore.pipeline import AsGiven, Seed, Settings, Unique

__all__ = ["AnchoringName", "AsGiven", "Identifier", "Names", "Numbers", "Seeds", "Settings", "Unique", "left_out"]


def left_out() -> Any:
    """Return the default of a field that a written configuration leaves out unless it is given."""
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
        raise PydanticCustomError("none", "none is the name of what has no anchors")
    return name


AnchoringName = Annotated[Identifier, AfterValidator(_no_none)]
"""The name of an anchoring that is given; "none" exists always."""
