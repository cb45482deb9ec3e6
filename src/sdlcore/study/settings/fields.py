"""The base of all models of the configuration, and the types that several of them share."""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WrapValidator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import TypeAliasType

from sdlcore.pipeline import Seed, field_texts


@cache
def documents(cls: type) -> dict[str, str]:
    """Return the text below each field of a class, in one line. It reads source code, which takes milliseconds."""
    return {name: " ".join(text.split()) for name, text in field_texts(cls).items()}


def describe(schema: JsonSchemaValue, cls: Any) -> None:
    """Write the descriptions of a model's fields, those that it inherits too, into its JSON schema."""
    for base in cls.__mro__:
        own = cls.model_fields.keys() & vars(base).get("__annotations__", {}).keys()
        for name in own & (documents(base).keys() if own else set()):
            # YAML says null
            text = documents(base)[name].replace("None", "null")
            schema["properties"][cls.model_fields[name].alias or name]["description"] = text


class Settings(BaseModel):
    """Settings under one key. The text below a field is its description in the schema, and a hint in errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        allow_inf_nan=False,
        # Rust's regular expressions know no \Z
        regex_engine="python-re",
        validate_by_name=True,
        serialize_by_alias=True,
        json_schema_extra=describe,
    )


def _as_given(value: Any, check: Callable[[Any], Any]) -> Any:
    check(value)
    return value


AsGiven = WrapValidator(_as_given)
"""Keeps a value as it was written: 1 stays 1 where 1.0 is meant, else every digest of settings would change."""


class _Unique:
    """No item of a list stands in it twice."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"uniqueItems": True}

    @staticmethod
    def check(items: Any) -> Any:
        if len(set(items)) < len(items):
            raise PydanticCustomError("not_unique", "non-unique elements")
        return items


Unique = _Unique()


def left_out() -> Any:
    """Return the default of a field that stands in no written configuration unless it is given."""
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
