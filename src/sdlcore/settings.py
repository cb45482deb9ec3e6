"""The base class of all settings, a pydantic model, and the types that several settings share.

The field of a setting defines its type, range, default and description. The Python API, command lines, configurations,
their JSON schema and the reference pages all read the field (docs/architecture.md).
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias, get_args

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError

from sdlcore.suggestions import did_you_mean
from sdlcore.text import printable, short_text

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that JSON can represent."""
Conflicts: TypeAlias = Iterator[tuple[object, str]]
"""Conditions of settings that do not go together, true if they hold, each with the message of the error."""


def _as_given(value: Any, check: Callable[[Any], Any]) -> Any:
    check(value)
    return value


AsGiven = WrapValidator(_as_given)
"""Keeps a number as it was written: 1 instead of 1.0. Otherwise every digest of settings would change."""
FromList = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""Reads a list, which JSON and YAML have, as the tuple that a setting is."""
AsList = PlainSerializer(list)
"""Writes such a tuple as a list again."""


def _unique(items: Any) -> Any:
    if len(set(items)) < len(items):
        raise PydanticCustomError("not_unique", "expected a list of different values")
    return items


Unique = AfterValidator(_unique)
"""Refuses a list that has an item twice."""
Pair = Literal["sae", "transcoder", "crosscoder"]
Precision = Literal["float32", "bfloat16"]
StoredPrecision = Literal["float16", "bfloat16", "float32"]
"""Precisions that activations are stored in."""
LatentCount = Annotated[int, Ge(1), Le(10**8)]
"""A number of latents, or of atoms."""
Sizes = Annotated[tuple[LatentCount, ...], FromList, AsList, Unique]
"""Numbers of latents."""
BatchSize = Annotated[int, Ge(1), Le(10**9)]
"""A number of samples, or of rounds over them, in one step."""
Total = Annotated[int, Ge(1), Le(10**12)]
"""A number of steps, or of samples, of a whole training."""
Share = Annotated[float, Ge(0), Le(1), AsGiven]
"""A share, from 0 to 1."""
Weight = Annotated[float, Ge(0), AsGiven]
"""The weight of a loss term."""
Positive = Annotated[float, Gt(0), AsGiven]
"""A number above zero."""
Text = Annotated[str, MinLen(1)]
"""Text of one character or more."""
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
"""The seed of a run's randomness."""


@cache
def documents(cls: Any) -> dict[str, str]:
    """Return the text below each field of a class, in one line; empty if the source cannot be read.

    Plugins' classes have such texts, too, and are no pydantic models. Reading source code takes milliseconds.
    """
    if not isinstance(cls, type):
        return {}
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _describe(schema: JsonSchemaValue, cls: Any) -> None:
    """Write the descriptions of a model's fields, inherited ones included, into its JSON schema."""
    for name, field in cls.model_fields.items():
        if text := cls.text_of(name):
            schema["properties"][field.alias or name]["description"] = text.replace("None", "null")  # as YAML has it
    schema["additionalProperties"] = False  # also where plugins add some, which are checked apart


class Settings(BaseModel):
    """Settings that belong together, given by name or in the order of the fields.

    The text below a field is its description in the reference, in the JSON schema and in errors. A value that does not
    fit raises `ValueError` with one sentence.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        allow_inf_nan=False,
        regex_engine="python-re",  # Rust's regular expressions know no \Z
        validate_by_name=True,
        serialize_by_alias=True,
        json_schema_extra=_describe,
    )
    always_given: ClassVar[tuple[str, ...]] = ()
    """Settings that `given` has even at their defaults: they say which kind of run it is."""

    def __init__(self, /, *values: Any, **settings: Any) -> None:
        names = list(type(self).model_fields)[: len(values)]
        try:
            super().__init__(**dict(zip(names, values, strict=True)), **settings)
        except ValidationError as error:
            raise ValueError("; ".join(explained(error, type(self)))) from None

    # pydantic then validates nested settings itself, and errors contain the whole path
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _of_python(cls, settings: Any) -> Any:
        """Turn NumPy's numbers into Python's."""
        return {name: plain(value) for name, value in settings.items()} if isinstance(settings, dict) else settings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.check_together()
        return self

    def check_together(self) -> None:
        """Raise `ValueError` for settings that each fit, but not together."""
        for holds, message in self.conflicts():
            if holds:
                raise ValueError(message)

    def conflicts(self) -> Conflicts:
        """Yield what `check_together` checks, in its order."""
        yield from ()

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Build from names and values, as JSON contains them; ValueError for any that is unknown, missing or wrong."""
        return cls(**settings)

    def to_dict(self) -> dict[str, Json]:
        """Return all settings by name, defaults included, as `from_dict` and JSON take them."""
        return {name: _as_json(value) for name, value in self}

    def non_defaults(self) -> dict[str, Json]:
        """Return the settings that differ from the defaults, which identify a run. `from_dict` completes them again."""
        return self.differing(self.to_dict())

    @classmethod
    def differing(cls, settings: Mapping[str, Json]) -> dict[str, Json]:
        """Return the settings, in the form of `to_dict`, that differ from the defaults, and those `always_given`."""
        defaults = {name: value for name, value in _defaults_of(cls).items() if name not in cls.always_given}
        return {name: value for name, value in settings.items() if value != defaults.get(name, MISSING)}

    def changed(self, **settings: Any) -> Self:
        """Return a copy with other values of some settings, checked again."""
        return type(self)(**{**dict(self), **settings})

    @classmethod
    def text_of(cls, name: str) -> str:
        """Return the description of a setting, in one line."""
        return next((documents(base)[name] for base in cls.__mro__ if name in documents(base)), "")


@cache
def _defaults_of(cls: type[Settings]) -> dict[str, Any]:
    """Return the defaults of a class as JSON. Cached, since a plan needs them thousands of times."""
    return {name: _as_json(default_of(cls, name)) for name in cls.model_fields}


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return TypeAdapter(annotation, config=None if is_model else strict)


def type_of(field: FieldInfo) -> Any:
    """Return a setting's type as it was written, with its range."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def default_of(cls: type[Settings], name: str) -> Any:
    """Return the default of a setting."""
    return cls.model_fields[name].get_default()


def checked(name: str, annotation: Any, value: Any) -> Any:
    """Return the value of an argument, with NumPy's numbers as Python's; ValueError if its type does not allow it."""
    try:
        return _adapter(annotation).validate_python(plain(value))
    except ValidationError as error:
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else BaseModel
        raise ValueError("; ".join(explained(error, model, name))) from None


def explained(error: ValidationError, model: type[BaseModel] = BaseModel, argument: str = "") -> list[str]:
    """Return pydantic's errors, each after the path of its key, which begins with ``argument``.

    ``model`` refused the settings. For an unknown setting, an error suggests fields of ``model`` and of nested models.
    """
    lines = []
    for each in error.errors(include_url=False):
        path = ".".join(filter(None, [argument, *map(str, each["loc"])]))
        kind, text, value = each["type"], each["msg"], each["input"]
        if kind == "extra_forbidden":
            *above, name = map(str, each["loc"])
            names = _model_at(model, above).model_fields.keys() - {name}  # another model of a union may have it
            text = f"unknown setting{did_you_mean(name, names)}"
        elif kind == "value_error":  # raised by us
            text = str(each["ctx"]["error"])
        elif kind not in ("missing", "name"):
            text = f"{text}, found {short_text(repr(value))}"
        if kind == "literal_error":
            text += did_you_mean(str(value), re.findall("'(.*?)'", each["ctx"]["expected"]))
        lines.append(printable(f"{path}: {text}" if path else text))
    return lines


def _model_at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """Return the model of the settings at a path; other keys of the path are names in a dictionary of settings."""
    for key in path:
        if key in model.model_fields:
            model = next(_models_in(model.model_fields[key].annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def plain(value: Any) -> Any:
    """Return Python's numbers for NumPy's, in lists too."""
    if isinstance(value, list | tuple) and value and not hasattr(value, "_fields"):
        return type(value)(map(plain, value))
    return value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value


def _as_json(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value
