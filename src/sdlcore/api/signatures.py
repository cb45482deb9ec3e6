"""Show the settings that a function takes by ``**settings`` in its signature and in its help."""

import inspect
import textwrap
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from sdlcore.run import MAIN, PART_OF, PARTS
from sdlcore.settings import default_of

Fitting = TypeVar("Fitting", bound=Callable[..., Any])
WIDTH = 100


def listing_settings(function: Fitting) -> Fitting:
    """Make `help` begin with the settings that matter most, and end with a list of all that are not parameters."""
    signature = inspect.signature(function)
    *parameters, rest = (one.replace(annotation=one.empty) for one in signature.parameters.values())
    by_place = [one for one in parameters if one.kind is not one.KEYWORD_ONLY]
    by_name = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    defaults = {name: default_of(PART_OF[name], name) for name in MAIN if name not in signature.parameters}
    main = [inspect.Parameter(name, rest.KEYWORD_ONLY, default=default) for name, default in defaults.items()]
    help_signature = signature.replace(parameters=[*by_place, *main, *by_name, rest], return_annotation=signature.empty)
    function.__signature__ = help_signature  # type: ignore[attr-defined]
    summary, _, details = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
    parts = [summary, f"The {len(MAIN)} settings that matter most; all of them are at the end:"]
    parts += [_listed(MAIN), details]
    names = [name for name in PART_OF if name in MAIN or name not in signature.parameters]
    for group, part in PARTS.items():
        title = f"Settings of the {group}"
        parts.append(f"{title}\n{'-' * len(title)}\n{_listed(name for name in part.model_fields if name in names)}")
    function.__doc__ = "\n\n".join(parts)
    return function


def _listed(names: Iterable[str]) -> str:
    """Return settings with their defaults, and the description below each."""
    wrapped = partial(textwrap.fill, width=WIDTH, initial_indent="    ", subsequent_indent="    ")
    settings = ((name, default_of(PART_OF[name], name), PART_OF[name].text_of(name)) for name in names)
    return "\n".join(f"{name} = {default!r}\n{wrapped(text)}" for name, default, text in settings)
