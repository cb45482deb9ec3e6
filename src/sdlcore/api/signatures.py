"""Let `help` list the settings that a function takes by ``**settings``."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from sdlcore.run import LossConfig, ModelConfig, RunConfig, TrainingConfig

Fitting = TypeVar("Fitting", bound=Callable[..., Any])


def listing_settings(function: Fitting) -> Fitting:
    """Have `help` show every setting of a training before ``**settings``, with its type and default."""
    own = inspect.signature(function)
    *parameters, rest = own.parameters.values()
    taken = RunConfig().to_dict().keys() - own.parameters.keys()
    for part in (ModelConfig, LossConfig, TrainingConfig):
        for field in fields(part):
            if field.name in taken:
                kind = inspect.Parameter.KEYWORD_ONLY
                parameters.append(inspect.Parameter(field.name, kind, default=field.default, annotation=field.type))
    function.__signature__ = own.replace(parameters=[*parameters, rest])  # type: ignore[attr-defined]
    return function
