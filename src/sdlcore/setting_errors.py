"""Turn pydantic's errors about settings into one sentence with key, expectation and value."""

import re
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sdlcore.suggestions import did_you_mean, hints
from sdlcore.text import printable

_EXPECTED = {
    "greater_than": "above {gt}",
    "less_than": "below {lt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "string_too_short": "at least {min_length} characters long",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}
"""What pydantic expected, by the type of its error."""


def choices(error: ErrorDetails) -> Sequence[str]:
    """Return the texts that were expected instead, where they can be listed."""
    context = error.get("ctx", {})
    if error["type"] != "literal_error":
        return list(context.get("known", ()))
    return [one.strip("'") for one in re.split(r", | or ", context["expected"])]


def refusal(cls: type[BaseModel], settings: Mapping[str, Any], errors: Sequence[ErrorDetails]) -> Exception:
    """Return the error of a user's settings as one sentence with key, value and expectation.

    Unknown and missing keys come first, then the first value that does not fit.
    """
    unknown = sorted(str(one["loc"][0]) for one in errors if one["type"] == "extra_forbidden" and len(one["loc"]) == 1)
    if unknown:
        return unknown_settings(_called(cls), unknown, list(cls.model_fields))
    if missing := sorted(str(one["loc"][0]) for one in errors if one["type"] == "missing" and len(one["loc"]) == 1):
        return ValueError(f"missing {_called(cls)}: {', '.join(missing)}")
    first = errors[0]
    if first["type"] == "value_error":  # raised by `check_together`, already one sentence
        raised: Exception = first["ctx"]["error"]
        return raised
    name = str(first["loc"][0])
    inner, value = _settings_in(cls.model_fields[name]), plain(settings.get(name))
    if inner is not None and isinstance(value, dict):
        within: Any = [{**one, "loc": one["loc"][1:]} for one in errors if one["loc"][0] == name]
        return refusal(inner, value, within)
    if inner is not None:
        return ValueError(f"{name} must be a mapping of {', '.join(inner.model_fields)}, found {value!r}")
    return misfit(name, value, first)


def unknown_settings(called: str, unknown: Sequence[str], names: Sequence[str]) -> ValueError:
    """Return the error that names unknown settings, with suggestions."""
    expected = f"expected some of {', '.join(names)}{hints(unknown, names)}"
    return ValueError(printable(f"unknown {called}: {', '.join(unknown)}; {expected}"))


def expectation(error: ErrorDetails) -> str:
    """Return what pydantic expected instead of a value, such as "at least 1"."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        return f"one of {', '.join(choices(error))}"
    bounds = {key: int(one) if isinstance(one, float) and one.is_integer() else one for key, one in context.items()}
    return str(context["expected"]) if "expected" in context else _EXPECTED.get(kind, error["msg"]).format(**bounds)


def misfit(name: str, value: Any, error: ErrorDetails) -> ValueError:
    """Return the error of one value that does not fit, in a sentence."""
    listed = choices(error)
    meant = did_you_mean(value, listed) if isinstance(value, str) and listed else ""
    return ValueError(f"{name} must be {expectation(error)}, found {value!r}{meant}")


def _settings_in(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of a setting that holds settings itself."""
    return next(_settings_of(field.annotation), None)


def _settings_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _settings_of(part)


def _called(cls: type[BaseModel]) -> str:
    """Return what errors call the settings of a class."""
    return str(getattr(cls, "called", "settings"))


def plain(value: Any) -> Any:
    """Return Python's numbers for NumPy's, in lists too."""
    if isinstance(value, list | tuple) and value and not hasattr(value, "_fields"):
        return type(value)(map(plain, value))
    if isinstance(value, Real) and type(value) not in (bool, int, float):
        return int(value) if isinstance(value, Integral) else float(value)
    return value
