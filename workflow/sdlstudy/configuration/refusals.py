"""Turn pydantic's errors into one line for each wrong key: the problem, and the expected value."""

from collections.abc import Collection, Iterator
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails

from sdlcore.plugins.registry import own_settings
from sdlcore.suggestions import did_you_mean
from sdlstudy.configuration.limits import key_path, short_repr
from sdlstudy.configuration.schema import schema
from sdlstudy.settings.runs import OF_PLUGINS, Method, Run, defined

PARTS = {"Table": "tables.NAME", "Compared": "own", "Run": "a method, or run of a protocol or source"}
"""Parts of the schema whose keys users often write in a wrong place, with their right places."""
MOST_COUNTED = 20
"""Largest integer given as seeds that is read as a number of seeds, instead of as one seed."""
Path = tuple[str | int, ...]
Part = JsonSchemaValue
"""A part of the JSON schema."""
LIMITS = {
    "greater_than": ("is less than or equal to the minimum of", "exclusiveMinimum"),
    "greater_than_equal": ("is less than the minimum of", "minimum"),
    "less_than": ("is greater than or equal to the maximum of", "exclusiveMaximum"),
    "less_than_equal": ("is greater than the maximum of", "maximum"),
}


def problems(error: ValidationError, config: Any) -> list[str]:
    """Return one line for each validation error of a configuration. Each line begins with the path of the key."""
    details = error.errors(include_url=False)
    return sorted({line for detail in details if not _is_inherited(detail) for line in _explained(detail, config)})


def _is_inherited(error: ErrorDetails) -> bool:
    """Return whether a missing key is in a variant, which inherits it from its ``like``."""
    return error["type"] == "missing" and isinstance(error["input"], dict) and error["input"].get("like") is not None


def _explained(error: ErrorDetails, config: Any) -> Iterator[str]:
    kind, path, value = error["type"], error["loc"], error["input"]
    if path and path[-1] == "[key]":
        part = _resolved(_at(path[:-2]).get("propertyNames", {}))
        yield f"{key_path(path[:-1])}: not a valid name here; {_expected(kind, part, value, error['msg'])}"
        return
    part, resolved = _at(path), _resolved(_at(path))
    where, hint = key_path(path), _hint(part)
    if kind == "extra_forbidden":
        yield f"{where}: unknown key{_known_keys(path, config)}"
    elif kind == "missing":
        yield f"{where}: missing; it is required"
    elif kind == "string_pattern_mismatch":
        yield f"{where}: {_expected(kind, resolved, value, error['msg'])}, found {short_repr(value)}"
    elif kind == "finite_number":
        yield f"{where}: expected a finite number, found {value}"
    elif kind.endswith("_type"):
        remedy = _counted_seeds(value) if path[-1] == "seeds" else ""
        actual = f"found {short_repr(value)}{remedy or _rewritten(part, value)}"
        yield f"{where}: expected {' or '.join(_kinds(part))}{hint}, {actual}"
    else:
        yield f"{where}: {_expected(kind, resolved, value, error['msg'])}{hint}"


def _expected(kind: str, part: Part, value: Any, otherwise: str) -> str:
    """Describe the error in a value of the right type."""
    if kind in LIMITS:
        words, key = LIMITS[kind]
        return f"{short_repr(value)} {words} {part[key]}"
    choices = [str(choice) for choice in part.get("enum", [])]
    return {
        "string_pattern_mismatch": f"expected {part.get('description')}",
        "literal_error": f"{short_repr(value)} is not one of {', '.join(choices)}{did_you_mean(str(value), choices)}",
        "too_short": f"{short_repr(value)} {_too_short(part)}",
        "string_too_short": f"{short_repr(value)} should be non-empty",
        "too_long": f"{short_repr(value)} is too long; expected {part.get('maxItems')} items",
        "string_too_long": f"{short_repr(value)} is too long; expected at most {part.get('maxLength')} characters",
        "not_unique": f"{short_repr(value)} has non-unique elements; name each once",
    }.get(kind, otherwise)


def _too_short(part: Part) -> str:
    least = part.get("minItems", 1)
    return "should be non-empty" if least == 1 else f"is too short; expected at least {least} items"


def _known_keys(path: Path, config: Any) -> str:
    """List the keys that are valid in place of an unknown key, and suggest the closest."""
    part, parent = _resolved(_at(path[:-1])), config
    for key in path[:-1]:
        parent = parent[key]
    valid_keys = set(part.get("properties", {}))
    kinds = {"Method": Method.kinds_of_plugins(), "Run": Run.kinds_of_plugins(), "Plugin": ("source",)}
    for name, plugin_kinds in kinds.items():
        if part is schema()["$defs"][name]:
            valid_keys |= own_settings(*plugin_kinds).keys()
    close = did_you_mean(str(path[-1]), valid_keys) or _elsewhere(path)
    if part is schema()["$defs"]["Method"] and "like" not in parent:
        valid_keys = _fit(parent)
    expected = f"xpected one of {', '.join(sorted(valid_keys))}"
    return f"{close}{'' if close.endswith('?') else '.'} E{expected}" if close else f"; e{expected}"


def _elsewhere(path: Path) -> str:
    """Return a hint with the right place of a key that was given in a wrong place."""
    key = str(path[-1])
    places = [where for part, where in PARTS.items() if key in schema()["$defs"][part]["properties"]]
    return f"; {key} belongs under {' or '.join(places)}" if places and path[0] != "tables" else ""


def _fit(method: Collection[str]) -> set[str]:
    """Return the keys that a method accepts: the settings of its kind, and the keys that change its kind."""
    kinds = {
        "solver": "solvers",
        "peer": "other libraries",
        "model": "imported dictionaries",
        "search": "codes by search",
    }
    kind = next((kind for key, kind in kinds.items() if key in method), "trainings")
    fit = {name for _, _, name in defined(kind)} | {"like", *own_settings(*OF_PLUGINS.get(kind, ()))}
    start = set() if kind in ("other libraries", "imported dictionaries") else {"warm_start"}
    return fit | start | (set(kinds) if kind == "trainings" else set())


def _at(path: Path) -> Part:
    """Return the part of the JSON schema at a path, or an empty part if the path is unknown."""
    part: Part = schema()
    for key in path:
        part = _resolved(part)
        inner = part.get("items") if isinstance(key, int) else part.get("properties", {}).get(key)
        part = inner or part.get("additionalProperties") or {}
    return part


def _resolved(part: Part) -> Part:
    """Resolve references, and drop null from a union with null."""
    if "$ref" in part:
        return schema()["$defs"][part["$ref"].rpartition("/")[-1]]
    return _resolved(part["anyOf"][0]) if "anyOf" in part else part


def _kinds(part: Part) -> list[str]:
    kinds = _resolved(part).get("type", "something else")
    null = ["null"] if "anyOf" in part else []
    return [kinds, *null] if isinstance(kinds, str) else [*kinds, *null]


def _hint(part: Part) -> str:
    """Return the description of a key in brackets."""
    description = part.get("description") or _resolved(part).get("description", "")
    text = description.partition(" [Default: ")[0]
    return f" ({text})" if text else ""


def _counted_seeds(value: Any) -> str:
    """Return a hint on how to write a list of seeds. A large number most likely means one seed and gets no hint."""
    if not isinstance(value, int) or not 2 <= value <= MOST_COUNTED:
        return ""
    listed = list(range(value))
    return f"; seeds are a list: write {listed} for {value} of them, or [{value}] for the seed {value} alone"


def _rewritten(part: Part, value: Any) -> str:
    """Return a hint for a single value where a list was expected."""
    if "array" in _kinds(part) and isinstance(value, str | int | float):
        return f"; write [{value}]"
    return ""
