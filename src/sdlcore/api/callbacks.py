"""Record which callback stopped a training, and compare it with the callbacks of a later call."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from sdlcore.api.run_folder import CONFIG
from sdlcore.data.loaders import qualified_name
from sdlcore.errors import SourceError
from sdlcore.parallel.groups import Group
from sdlcore.training.callbacks import Callback, stops
from sdlcore.training.history import Row


def record_stops(callbacks: Sequence[Callback]) -> tuple[tuple[Callback, ...], list[int]]:
    """Wrap callbacks so that each adds its number, from 0, to the returned list when it stops the training."""
    stopping: list[int] = []

    def recorded(number: int, callback: Callback) -> Callable[[Row], bool]:
        def call(row: Row) -> bool:
            answer = stops(callback(row))
            if answer:
                stopping.append(number)
            return answer

        return call

    return tuple(recorded(number, callback) for number, callback in enumerate(callbacks)), stopping


def names_of_stopping(callbacks: Sequence[Callback], stopping: Sequence[int], processes: Group) -> list[str]:
    """Return the names of the callbacks that stopped the training in the first process, which alone calls them."""
    bits = processes.counts(sum(1 << number for number in stopping))[0]
    return [qualified_name(callback) for number, callback in enumerate(callbacks) if bits >> number & 1]


def check_stopped(folder: Path, callbacks: Sequence[Callback]) -> None:
    """Raise `ValueError` for a finished run that a callback stopped, unless a callback of the same name is given.

    Raises
    ------
    ValueError
        The message names the folder, the callback and the step.
    """
    stopped = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("stopped")
    if not stopped:
        return
    if not {qualified_name(callback) for callback in callbacks}.intersection(stopped["by"]):
        raise SourceError(
            f"{folder}: contains a run that the callback {stopped['by'][0]} stopped at step {stopped['step']}; open it "
            "with sdl.load, give the callback again, or choose another folder"
        )
