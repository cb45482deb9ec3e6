"""An option for each setting of a command, and for each setting that plugins add."""

from collections.abc import Collection
from typing import Annotated, Any, TypedDict, Union, get_args

import tyro

from sdlcore.plugins.registry import Kind, own_settings
from sdlcore.settings import Settings, type_of


def options_of(taken: Collection[str], cls: type[Settings], *kinds: Kind) -> Any:
    """Return a TypedDict with the settings of a class and of plugins, without settings that hold others.

    No option is required. The command receives only the given options; a start and the defaults determine the others.
    A plugin's setting whose name is ``taken`` by a parameter of the command has no option.
    """
    options = {
        name: _option(type_of(field), cls.text_of(name), field.get_default())
        for name, field in cls.model_fields.items()
        if not any(isinstance(kind, type) and issubclass(kind, Settings) for kind in get_args(field.annotation))
    }
    for name, plugins in own_settings(*kinds).items():
        if name in taken:
            continue
        types: Any = Union[*(type_of(plugin.settings.model_fields[name]) for plugin in plugins)]
        text = "; ".join(f"{one.text_of(name)} (of {one.kind} {one.name})".strip() for one in plugins)
        options[name] = _option(types, text, plugins[0].settings.model_fields[name].default)
    return TypedDict("Options", options, total=False)  # type: ignore[operator]


def _option(annotation: Any, text: str, default: Any) -> Any:
    return Annotated[annotation, tyro.conf.arg(help=text, help_behavior_hint=f"(default: {default})")]
