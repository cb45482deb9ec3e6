"""Which settings of a command ``--help`` shows: the most important ones, the settings of one method, or all."""

import inspect
import sys
from collections.abc import Callable, Collection
from typing import Any

import tyro

from sdlcore.command_line import with_parameters
from sdlcore.commands.options import is_extensible, is_settings
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.run import MAIN, PART_OF
from sdlcore.settings import Settings, UsedBy, default_of, marked, type_of
from sdlcore.suggestions import did_you_mean
from sdlcore.text import printable

_PENALISED = ("l1", "l1_exponent_end", "penalty_warmup", "target_l0", "init_l0")
_SELECTING = ("k", "k_start", "hierarchical", "multi_k", "prefixes", "prefix_detached", "reorder_every", "lambda_aux")
_CHOSEN: dict[str, tuple[str, ...]] = {
    "relu": _PENALISED,
    "jumprelu": ("l0", "l0_form", "frequency", *_PENALISED),
    **dict.fromkeys(("topk", "batchtopk", "abstopk", "lista"), _SELECTING),
    "matching_pursuit": ("k", "k_start", "tied", "decoder_norm"),
    "gated": _PENALISED,
    "tsae": ("contrast", "activation", "k", "prefixes"),
    "rasae": ("archetypes",),
    "ortsae": ("orthogonality",),
    "transcoder": ("pair", "skip"),
    "crosscoder": ("pair",),
    "anchors": ("lambda_anchor", "anchor_form", "anchor_until", "anchor_fall", "anchor_cosine"),
}
"""Method -> the settings that choose its loss terms and variants. `settings_of` adds settings that depend on them."""


def settings_of(method: str) -> set[str]:
    """Return the settings that help shows for a method: its activation's, `_CHOSEN`, and all that depend on these."""
    names = set(_CHOSEN[method])
    marks = {name: marked(part.model_fields[name], UsedBy) for name, part in PART_OF.items()}
    conditional = {name: mark for name, mark in marks.items() if mark is not None}
    names |= {name for name, mark in conditional.items() if mark.setting == "activation" and method in mark.values}
    while more := {name for name, mark in conditional.items() if mark.setting in names} - names:
        names |= more
    return names


def method_in_help(argv: list[str]) -> tuple[list[str], str | None]:
    """If help is requested, return the command with ``--help`` alone, and the word that follows ``--help`` or "".

    Otherwise return the arguments unchanged, and None.
    """
    at = next((place for place, one in enumerate(argv) if one in ("-h", "--help")), None)
    if at is None:
        return argv, None
    word = argv[at + 1] if at + 1 < len(argv) and not argv[at + 1].startswith("-") else ""
    return [argv[0], "--help"], word


def showing(function: Callable[..., None], method: str, program: str) -> tuple[Callable[..., None], str]:
    """Return a function whose help shows few settings, and a sentence about how to see the others.

    It shows the most important settings, settings whose default the function changes, and a method's settings.

    Parameters
    ----------
    function
        A command. Help of a command that does not take the settings of a training shows everything.
    method
        A method, which plugins may have added; empty for none; or ``all`` for every setting.
    program
        Name of the program, for the error.

    Raises
    ------
    SystemExit
        With one line on standard error, if there is no such method.
    """
    parameters = dict(inspect.signature(function).parameters)
    kinds = [one.annotation for one in parameters.values() if is_settings(one.annotation)]
    if method == "all" or not set(MAIN) <= {name for kind in kinds for name in kind.model_fields}:
        return function, ""
    of_plugins = own_settings(*(kind.extended_by for kind in kinds if is_extensible(kind)))
    settings_by_method = {name: settings_of(name) for name in _CHOSEN}
    for setting, plugins in of_plugins.items():
        for plugin in plugins:
            settings_by_method.setdefault(plugin.name, set()).add(setting)
    if method and method not in settings_by_method:
        advice = (
            did_you_mean(method, settings_by_method) or f"; expected all, or one of {', '.join(settings_by_method)}"
        )
        print(f"{program}: no such method {printable(method)}{advice}", file=sys.stderr)
        raise SystemExit(2)
    visible_settings = {*MAIN, *settings_by_method.get(method, ())}
    for name, one in parameters.items():
        if is_settings(one.annotation):
            # settings whose default the command changes
            visible_settings |= {
                setting for setting, value in dict(one.default).items() if value != default_of(one.annotation, setting)
            }
            hiding = _hiding(one.annotation, visible_settings)
            parameters[name] = one.replace(annotation=hiding, default=hiding(**dict(one.default)))
        elif name in of_plugins and name not in visible_settings:
            parameters[name] = one.replace(annotation=_hidden(one.annotation))
    hint = f"These are the settings that matter most{f', and the settings of {method}' if method else ''}. "
    hint += f"--help METHOD also shows the settings of {', '.join(settings_by_method)}; --help all shows every setting."
    return with_parameters(function, parameters.values()), hint


def _hiding(cls: type[Settings], visible_settings: Collection[str]) -> type[Settings]:
    """Return a class whose help shows some of its settings."""
    hidden = {name: field for name, field in cls.model_fields.items() if name not in visible_settings}
    space: dict[str, Any] = {name: field.default for name, field in hidden.items()}
    space["__annotations__"] = {name: _hidden(type_of(field)) for name, field in hidden.items()}
    return type(cls.__name__, (cls,), space | {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _hidden(annotation: Any) -> Any:
    suppress: Any = tyro.conf.Suppress
    return suppress[annotation]
