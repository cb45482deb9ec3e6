"""Ranges and choices of settings, as annotations of dataclasses, and the check of a dataclass against its own.

The configuration's models read the same annotations, so that a range stands in one place.
"""

import operator
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

Pair = Literal["sae", "transcoder", "crosscoder"]
Latents = Annotated[int, Ge(1), Le(10**8)]
"""A number of latents, or of atoms."""
Batch = Annotated[int, Ge(1), Le(10**9)]
"""A number of samples, or of rounds over them, that one step takes."""
Total = Annotated[int, Ge(1), Le(10**12)]
"""A number of steps, or of samples, of a whole training."""
Share = Annotated[float, Ge(0), Le(1)]
Weight = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]

_BOUNDS = {
    Ge: ("ge", operator.ge, "at least"),
    Gt: ("gt", operator.gt, "above"),
    Le: ("le", operator.le, "at most"),
    Lt: ("lt", operator.lt, "below"),
}


def check(settings: Any) -> None:
    """Check every field of a dataclass against the choices and the range that its annotation gives.

    Raises
    ------
    ValueError
        Naming the first field that has another value.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        for part in _parts(field.type):
            if get_origin(part) is Literal and value not in get_args(part):
                choices = ", ".join(map(str, get_args(part)))
                raise ValueError(f"{field.name} must be one of {choices}, found {value!r}")
            wanted = _outside(part, value) if isinstance(value, int | float) else None
            if wanted is not None:
                raise ValueError(f"{field.name} must be {wanted}, found {value}")


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield what an annotation is made of: types, choices and bounds, but those of a tuple's items."""
    yield annotation
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
        yield from _parts(annotation.__origin__)
    elif get_origin(annotation) is not tuple and get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _parts(part)


def _outside(bound: Any, value: float) -> str | None:
    """Return what a bound wants of a number that does not keep it, else None."""
    for kind, (name, holds, words) in _BOUNDS.items():
        if isinstance(bound, kind) and not holds(value, limit := getattr(bound, name)):
            return f"{words} {limit}"
    return None
