"""Ranges and choices of settings as annotations of dataclasses; check a dataclass against them, read it from JSON.

The configuration's models read the same annotations, so that a range stands in one place.
"""

import dataclasses
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeAlias,
    Union,
    get_args,
    get_origin,
)

from annotated_types import Ge, Gt, Le, Lt, MinLen

from sdlcore.elsewhere import answers, quoted

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that JSON can represent."""
Pair = Literal["sae", "transcoder", "crosscoder"]
Precision = Literal["float32", "bfloat16"]
StoredPrecision = Literal["float16", "bfloat16", "float32"]
"""Precisions that activations are stored in."""
Split = Literal["samples", "latents"]
"""The part of a training that its processes divide: the samples of a batch, or the latents."""
Latents = Annotated[int, Ge(1), Le(10**8)]
"""A number of latents, or of atoms."""
Batch = Annotated[int, Ge(1), Le(10**9)]
"""A number of samples, or of rounds over them, that one step takes."""
Total = Annotated[int, Ge(1), Le(10**12)]
"""A number of steps, or of samples, of a whole training."""
Share = Annotated[float, Ge(0), Le(1)]
Weight = Annotated[float, Ge(0)]
"""The weight of a loss term."""
Positive = Annotated[float, Gt(0)]
"""A number above zero."""
Text = Annotated[str, MinLen(1)]
"""Text of one character or more."""
FLOAT32_MAX = (2 - 2**-23) * 2.0**127
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
"""A seed of all randomness of a run."""

_BOUNDS = {
    Ge: ("ge", operator.ge, "at least"),
    Gt: ("gt", operator.gt, "above"),
    Le: ("le", operator.le, "at most"),
    Lt: ("lt", operator.lt, "below"),
}
_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class Wanting(ABC):
    """An annotation that says by itself what it wants of a value."""

    # no protocol: every setting of every run is asked whether it is one, and protocols take ten times as long to tell
    @abstractmethod
    def wanted(self, value: Any) -> str | None:
        """Return what is wanted of another value, else None."""

    @abstractmethod
    def known(self) -> Iterable[str]:
        """Return the texts that it may be."""


@dataclass(frozen=True)
class FromJson:
    """Settings that JSON can hold. On a command line, they are one value (`sdlcore.command_line`)."""

    called: ClassVar[str] = "settings"
    """What errors call them."""

    def __post_init__(self) -> None:
        """Check every field. A subclass with more to check begins with this, too."""
        check(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Json]) -> Self:
        """Build from what JSON holds; what is left out takes its default.

        Raises
        ------
        ValueError
            Naming keys that are unknown or missing, or the setting that has another value than it may have.
        """
        known = {field.name: field for field in fields(cls)}
        if unknown := sorted(settings.keys() - known):
            meant = hints(unknown, known)
            raise ValueError(f"unknown {cls.called}: {', '.join(unknown)}; expected some of {', '.join(known)}{meant}")
        needed = {name for name, field in known.items() if field.default is MISSING}
        if missing := sorted(needed - settings.keys()):
            raise ValueError(f"missing {cls.called}: {', '.join(missing)}")
        return cls(**{name: _from_json(known[name].type, value) for name, value in settings.items()})

    def to_dict(self) -> dict[str, Json]:
        """Return what `from_dict` takes, all that has a default too."""
        return as_lists(asdict(self))


def as_lists(settings: Mapping[str, Any]) -> dict[str, Json]:
    """Return settings as JSON can hold them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def _from_json(annotation: Any, value: Any) -> Any:
    """Return tuples for lists, the settings within settings for a mapping, and Python's numbers for numpy's."""
    if isinstance(value, dict):
        inner = [part for part in kinds(annotation) if isinstance(part, type) and issubclass(part, FromJson)]
        return inner[0].from_dict(value) if inner else value
    if isinstance(value, list | tuple):
        return tuple(_from_json(Any, item) for item in value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def used_by(setting: str, *values: Any, default: Any) -> Any:
    """Declare a field of a dataclass that means something only where another setting has one of some values.

    Without values: only where that is given at all, that is no zero, nothing and not empty.
    """
    return dataclasses.field(default=default, metadata={"used_by": (setting, values)})


def weight_of(term: str, default: Any) -> Any:
    """Declare a field of a dataclass that asks for a loss term where it is given: its weight, or another setting."""
    return dataclasses.field(default=default, metadata={"term": term})


def used(settings: Any) -> dict[str, Json]:
    """Return the fields of a dataclass that mean something, by name.

    A setting of a part that a run does not have is left out, so that a new part's setting changes no run without it.
    """
    found: dict[str, Json] = {}
    for field in fields(settings):
        setting, values = field.metadata.get("used_by") or (field.name if "term" in field.metadata else None, ())
        other = getattr(settings, setting) if setting else True
        if other in values if values else other:
            found[field.name] = getattr(settings, field.name)
    return found


def check(settings: Any) -> None:
    """Check every field of a dataclass against the choices and the range that its annotation gives.

    Raises
    ------
    ValueError
        Naming the first field that has another value.
    """
    for field in fields(settings):
        _check(field.name, field.type, getattr(settings, field.name))


def checked(name: str, annotation: Any, value: Any) -> Any:
    """Return the value of an argument that is no field of a dataclass, numpy's numbers as Python's.

    Raises
    ------
    ValueError
        Naming the argument, if it has another value than its annotation allows.
    """
    value = _from_json(annotation, value)
    _check(name, annotation, value)
    return value


def _check(name: str, annotation: Any, value: Any) -> None:
    if problem := wanted(annotation, value):
        meant = did_you_mean(value, _choices(annotation)) if isinstance(value, str) else ""
        raise ValueError(f"{name} must be {problem}, found {value!r}{meant}")


@cache
def kinds(annotation: Any) -> tuple[Any, ...]:
    """Return what a value may be, but None."""
    if get_origin(annotation) in (Union, UnionType):
        return tuple(kind for part in get_args(annotation) for kind in kinds(part))
    return () if annotation is type(None) else (annotation,)


def wanted(annotation: Any, value: Any) -> str | None:
    """Return what was expected instead of a value, such as "at least 1"; None if the annotation allows the value."""
    if value is None and type(None) in get_args(annotation):
        return None
    problems = [_wanted(kind, value) for kind in kinds(annotation)]
    return None if None in problems else problems[0]


def _wanted(kind: Any, value: Any) -> str | None:
    origin = get_origin(kind)
    if origin is Literal and value not in get_args(kind):
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if isinstance(kind, type) and issubclass(kind, FromJson) and not isinstance(value, kind):
        return f"a mapping of {', '.join(field.name for field in fields(kind))}"
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return "a list"
        return next((problem for item in value if (problem := wanted(get_args(kind)[0], item))), None)
    if origin is Annotated:
        bounds = (_outside(bound, value) for bound in kind.__metadata__)
        return _wanted(kind.__origin__, value) or next(filter(None, bounds), None)
    if isinstance(kind, type) and kind in _PLAIN and not _is_plain(kind, value):
        return _PLAIN[kind]
    return _not_of_float32(value) if kind is float else None


def _is_plain(kind: type, value: Any) -> bool:
    """Tell whether a value is of a plain type. A whole number is a number, true is none."""
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, {int: Integral, float: Real, str: str}[kind])


def _not_of_float32(value: Real) -> str | None:
    """Return the expected range if float32, the type of all settings in the end, cannot hold a number; else None."""
    try:
        size = abs(float(value))
    except OverflowError:  # a whole number beyond every float
        size = math.inf
    if not math.isfinite(size):
        return "a finite number"
    return f"at most {FLOAT32_MAX:.2g} in size, which float32 can hold" if size > FLOAT32_MAX else None


def _choices(annotation: Any) -> Iterator[str]:
    """Yield the texts that an annotation takes, where it lists them."""
    for kind in kinds(annotation):
        if get_origin(kind) is Literal:
            yield from map(str, get_args(kind))
        for bound in getattr(kind, "__metadata__", ()):
            yield from bound.known() if isinstance(bound, Wanting) else ()


CALLED_BY_SOLVERS = {"n_q": "n_atoms", "k": "support", "steps": "max_steps"}
"""What some settings of trainings are called where a solver is named."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message about a wrong name, such as "; did you mean topk?"; empty if no name is close.

    It answers settings of other libraries (`sdlcore.elsewhere`) and of trainings where a solver is named, and asks
    after a known name of similar letters.
    """
    names = {one.lower(): one for one in known}
    found = [quoted.sub(r"\1", answer) for answer in answers(name, set(names.values()))]
    if not found and (here := CALLED_BY_SOLVERS.get(name)) in names:
        found = [f"here it is called {here}"]
    if found:
        return "; " + "; ".join(found)
    if name == "gpu" and "cuda" in names:
        return "; did you mean cuda?"
    close = get_close_matches(name.lower(), list(names), n=1, cutoff=0.65 if len(name) < 6 else 0.75)
    return f"; did you mean {names[close[0]]}?" if close else ""


def hints(wrong: Sequence[str], known: Collection[str]) -> str:
    """Return what `did_you_mean` says of one or several names; of several, after each name."""
    if len(wrong) == 1:
        return did_you_mean(wrong[0], known)
    found = {name: did_you_mean(name, known).removeprefix("; ") for name in wrong}
    return "".join(f"; {name}: {hint}" for name, hint in found.items() if hint)


def _outside(bound: Any, value: Any) -> str | None:
    """Return what a bound wants of a value that does not keep it, else None."""
    if isinstance(bound, Wanting):
        return bound.wanted(value)
    if isinstance(bound, MinLen) and isinstance(value, str) and len(value) < bound.min_length:
        return f"at least {bound.min_length} characters long"
    for kind, (name, holds, words) in _BOUNDS.items():
        if isinstance(bound, kind) and isinstance(value, Real) and not holds(value, limit := getattr(bound, name)):
            return f"{words} {limit}"
    return None
