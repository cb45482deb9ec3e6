"""Compare the run in a folder with a requested run: settings, seed and data.

Code, package versions and device can change a result by rounding. Different code, versions or devices do not make a
different run: the call opens the finished run, or resumes the unfinished one, and gives one warning that lists the
differences.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from sdlcore.run import RunConfig
from sdlcore.settings import Json
from sdlcore.solvers.registry import libraries_of
from sdlcore.solvers.settings import SolverConfig
from sdlcore.text import printable
from sdlcore.user_warnings import warn_at_call

ENVIRONMENT = ("code", "versions", "device")
"""Facts about the code, packages and device that computed a run."""
RESUMED = "resumed"
"""Key of provenance: the code, packages and device of the steps before a run was resumed with others."""
STOPPED = "stopped"
"""Key of provenance: the step at which a run ended early, and who stopped it: callbacks, or the end of the batches."""
REPLACED = "replaced"
"""Key of provenance: the indices of the latents that `refine` replaced."""
RECORDED = (*ENVIRONMENT, RESUMED, STOPPED, REPLACED, "processes", "split")
"""Keys of provenance that do not identify a run."""
READERS = ("numpy", "transformers", "tokenizers")
"""Packages besides torch that compute activations from a text."""
LISTED = 4
"""Differences that an error lists."""


class Differences(NamedTuple):
    """Differences between a run in a folder and a requested run."""

    identity: list[str]
    """Settings, seed and data. If there are any, the runs are different."""
    environment: list[str]
    """Packages, code and device. They can change a result by rounding."""

    def listed(self) -> str:
        """Return the first differences in identity as text."""
        return ", ".join(self.identity[:LISTED]) + (", ..." if len(self.identity) > LISTED else "")


class ExistingRun(NamedTuple):
    """A run in a folder. A call opens a finished run, and resumes an unfinished one."""

    is_finished: bool
    environment: list[str]
    """Differences in packages, code and device."""


def packages_of(config: RunConfig | SolverConfig, device: str) -> tuple[str, ...]:
    """Return the packages that compute a dictionary, whose versions can change its numbers."""
    if isinstance(config, SolverConfig):
        return ("numpy", "torch", "numba", *libraries_of(config.solver))
    return ("numpy", "torch", "triton" if device == "cuda" else "numba")


def versions_of(packages: tuple[str, ...]) -> dict[str, Json]:
    """Return the versions of the packages that are installed; leave out the others."""
    versions: dict[str, Json] = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def identity_of(facts: Mapping[str, Any]) -> str:
    """Return a digest of a run's settings, seed and data."""
    identifying_facts = {name: value for name, value in facts.items() if name not in RECORDED}
    return hashlib.sha256(json.dumps(identifying_facts, sort_keys=True).encode()).hexdigest()


def compare(run: Mapping[str, Any], request: Mapping[str, Any]) -> Differences:
    """Compare the facts of a run in a folder with the facts of a requested run.

    The digest of a store identifies activations that were read from it. Where a language model computes the activations
    during the training, their description identifies them: text, model, place and settings. Packages are compared if
    both runs name them.
    """
    request = json.loads(json.dumps(request))
    inputs = request.get("inputs")
    described = {"inputs"} if inputs is None else {"activations"} if "store" in inputs else set()
    names = [name for name in {**request, **run} if name not in {*RECORDED, *described}]
    identity = [difference for name in names for difference in _differences(name, run.get(name), request.get(name))]
    environment = [
        f"{package} {stored_version} (here {request['versions'][package]})"
        for package, stored_version in (run.get("versions") or {}).items()
        if package != "python" and request["versions"].get(package, stored_version) != stored_version
    ]
    if run.get("device") != request.get("device"):
        environment.append(f"device {run.get('device')} (here {request.get('device')})")
    if run.get("code") != request.get("code"):
        environment.append("other code of sdlcore or its plugins")
    return Differences(identity, environment)


def warn_of_environment(runs: Mapping[Path, ExistingRun | None]) -> None:
    """Give one warning for all opened or resumed runs that other packages, code or devices computed.

    `fit` and similar functions call this directly, so that the warning points to their caller's line.
    """
    alike: dict[tuple[bool, str], list[Path]] = defaultdict(list)
    for folder, run in runs.items():
        if run is not None and run.environment:
            alike[run.is_finished, joined(run.environment)].append(folder)
    parts = []
    for (is_finished, environment), folders in alike.items():
        several = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        does = "opened a finished run" if is_finished else "resumed an unfinished run"
        parts.append(f"{folders[0]}{several}: {does}, computed with {environment}")
    if parts:
        warn_at_call(
            f"{printable('; '.join(parts))}. A new training can differ slightly; choose another folder to train again"
        )


def warn_of_batches(folder: Path, run: ExistingRun | None, recorded: bool) -> None:
    """Warn if a call opens or resumes a run whose batches were not ``recorded``, and so cannot be compared."""
    if run is not None and not recorded:
        does = "opened the finished run" if run.is_finished else "resumed the unfinished run"
        warn_at_call(f"{folder}: {does}; its batches were not compared with these, since no run records them")


def joined(parts: list[str]) -> str:
    """Return parts as an enumeration in text: "a, b and c"."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _differences(name: str, stored_value: Any, requested_value: Any) -> Iterator[str]:
    """Yield the differences in one fact: settings and the seed with both values, data by name."""
    if stored_value == requested_value:
        return
    if name == "settings" and isinstance(stored_value, dict) and isinstance(requested_value, dict):
        yield from _of_settings(stored_value, requested_value)
    elif name in _PARTS and isinstance(stored_value, dict) and isinstance(requested_value, dict):
        for key in {**requested_value, **stored_value}:
            yield from _differences(_CALLED.get(key, key), stored_value.get(key), requested_value.get(key))
    elif name in _CALLED.values() or isinstance(stored_value, dict) or isinstance(requested_value, dict):
        yield f"other {name}"
    else:
        yield f"{name} {_text(stored_value)}, here {_text(requested_value)}"


_PARTS = ("inputs", "activations", "source", "where")
"""Facts whose keys are compared one by one."""
_CALLED = {"store": "activations", "first_batch": "first batch of x"}
_CALLED |= {name: name for name in ("anchors", "start", "watch", "tokenizer")}
"""Inputs that are compared by digest, and what messages call them."""


def _of_settings(run: dict[str, Json], request: dict[str, Json]) -> Iterator[str]:
    if run.get("solver") != request.get("solver"):
        yield f"solver {_text(run.get('solver'))}, here {_text(request.get('solver'))}"
        return  # a solver and a training share no other settings
    # a run with an optimiser or batches of its own records no settings that these replace
    defaults = {key: value for key, value in _complete(run).items() if key in request}
    run = {**defaults, **run}
    for key in sorted(run.keys() | request.keys()):
        if run.get(key) != request.get(key):
            yield f"{key} {_text(run.get(key))}, here {_text(request.get(key))}"


def _complete(settings: dict[str, Json]) -> dict[str, Json]:
    """Return saved settings, with defaults for settings that later versions added."""
    kind: type[RunConfig] | type[SolverConfig] = SolverConfig if "solver" in settings else RunConfig
    try:
        return {**kind.from_dict(settings).to_dict(), **settings}
    except (ValueError, TypeError):  # this version lacks a setting, or a plugin is missing
        return settings


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
