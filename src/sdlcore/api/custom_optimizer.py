"""Check a user's optimiser, schedule and callbacks against the settings, and record them in provenance."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdlcore.api.run_folder import CONFIG, HISTORY
from sdlcore.api.sources import Source
from sdlcore.api.streams import qualified_name
from sdlcore.errors import SourceError
from sdlcore.model.coder import SparseCoder
from sdlcore.run import RunConfig
from sdlcore.settings import Json
from sdlcore.training.custom_optimizer import Callback, CustomParts, Schedule, made_optimizer, stops
from sdlcore.training.history import Row, read_history

Sites = tuple[tuple[int, ...], tuple[int, ...]]
"""Dimensions of the sites of x_p and of x_r."""
END_OF_BATCHES = "the end of the batches"
_REPLACED = {"optimizer": ("lr", "weight_decay"), "schedule": ("lr_warmup", "lr_decay", "lr_decay_shape")}
"""Argument with a user's part -> the settings that it replaces."""


def unused_settings(source: Source | None, custom_parts: CustomParts) -> dict[str, str]:
    """Return the settings that this source and these parts replace, each with the argument that replaces it."""
    settings_by_part = {part: names for part, names in _REPLACED.items() if getattr(custom_parts, part) is not None}
    reasons = {name: f"{part}=, which sets it" for part, names in settings_by_part.items() for name in names}
    return reasons | dict.fromkeys(() if source is None else source.unused, "batches, which determine it already")


def refuse_unused(settings: Mapping[str, Any], source: Source | None, custom_parts: CustomParts) -> None:
    """Raise `ValueError` for a setting that another argument replaces, and for custom parts given to a solver."""
    if "solver" in settings:
        for part, value in zip(custom_parts._fields, custom_parts, strict=True):
            if value:
                raise ValueError(f"{part} has no meaning for a solver, which trains nothing; leave it out")
    for name, instead in unused_settings(source, custom_parts).items():
        if name in settings:
            raise ValueError(f"{name} has no meaning together with {instead}; leave it out")


def provenance_of_parts(custom_parts: CustomParts, config: RunConfig, sites: Sites) -> dict[str, Json]:
    """Describe an optimiser and a schedule for provenance.

    For this description, optimiser and schedule are created once more, with parameters on torch's device meta, which
    take no memory. The description contains the types of both, the optimiser's defaults, the settings of its parameter
    groups if there are several, and the schedule's state before the first step.

    Raises
    ------
    ValueError
        If a factory returns an object of another kind.
    """
    if custom_parts.optimizer is None and custom_parts.schedule is None:
        return {}
    description: dict[str, Any] = {}
    optimizer = _optimizer_on_meta(custom_parts, config, sites)
    if optimizer is not None:
        description["optimizer"] = {"type": qualified_name(type(optimizer)), "defaults": _plain(optimizer.defaults)}
        if len(optimizer.param_groups) > 1:
            groups = [
                {name: one for name, one in group.items() if name != "params"} for group in optimizer.param_groups
            ]
            description["optimizer"]["groups"] = _plain(groups)
    if custom_parts.schedule is not None:
        schedule = Schedule(custom_parts.schedule, optimizer, config.training.lr).scheduler
        state = {name: value for name, value in schedule.state_dict().items() if not name.startswith("_")}
        description["schedule"] = {"type": qualified_name(type(schedule)), "state": _plain(state)}
    return description


def _optimizer_on_meta(custom_parts: CustomParts, config: RunConfig, sites: Sites) -> torch.optim.Optimizer | None:
    if custom_parts.optimizer is None:
        return None
    with torch.device("meta"):
        model = SparseCoder(config.model, *sites)
    return made_optimizer(custom_parts.optimizer, [p for p in model.parameters() if p.requires_grad])


def naming_who_stops(custom_parts: CustomParts) -> tuple[CustomParts, list[str]]:
    """Wrap callbacks so that each adds its name to the returned list when it stops the training."""
    names: list[str] = []

    def noting(callback: Callback) -> Callable[[Row], bool]:
        def call(row: Row) -> bool:
            answer = stops(callback(row))
            if answer:
                names.append(qualified_name(callback))
            return answer

        return call

    return custom_parts._replace(callbacks=tuple(noting(callback) for callback in custom_parts.callbacks)), names


def check_stopped(folder: Path, custom_parts: CustomParts) -> None:
    """Raise `ValueError` for a finished run that a callback stopped, unless a callback of the same name is given.

    Raises
    ------
    ValueError
        The message names the folder, the callback and the step.
    """
    stopped = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("stopped")
    if not stopped or stopped["by"] == END_OF_BATCHES:
        return
    names = {qualified_name(callback) for callback in custom_parts.callbacks}
    if not names.intersection(stopped["by"]):
        raise SourceError(
            f"{folder}: contains a run that the callback {stopped['by'][0]} stopped at step {stopped['step']}; open it "
            "with sdl.load, give the callback again, or choose another folder"
        )


def check_rates(folder: Path, custom_parts: CustomParts, config: RunConfig, sites: Sites) -> None:
    """Raise `ValueError` for a finished run whose history shows other learning rates than the schedule gives.

    Provenance cannot tell two ``LambdaLR`` apart, since their functions are not part of their state.
    """
    path = folder / HISTORY
    if custom_parts.schedule is None or not path.is_file():
        return
    rates = ((int(row["step"]) - 1, [row["lr"]]) for row in read_history(path))
    try:
        optimizer = _optimizer_on_meta(custom_parts, config, sites)
        Schedule(custom_parts.schedule, optimizer, config.training.lr).follow(rates)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _plain(value: Any) -> Json:
    """Convert a value to JSON; objects that JSON cannot express become the name of their type."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return _plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return qualified_name(value if callable(value) else type(value))
