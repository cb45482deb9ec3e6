"""Decide whether two runs are the same run, for the library and for the pipeline.

An identity consists of the stage, the settings that were changed from their defaults, the seed, the digests of the
inputs and of the plugins' files, and the number of the stage (`NUMBERS`). Versions, device and a digest of this package
are recorded beside it. They can change a result by rounding, so a difference is only logged.
"""

import glob
import hashlib
import json
import logging
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.text import short_text

log = logging.getLogger(__name__)

NUMBERS = {
    "feature_matrix": 1,
    "samples": 1,
    "language_model": 1,
    "activations": 1,
    "fashion_mnist": 1,
    "clip": 1,
    "class_means": 1,
    "anchors": 1,
    "train": 2,
    "solve": 2,
    "peer": 1,
    "import": 1,
    "codes": 1,
    "refine": 1,
    "reencode": 1,
    "evaluate": 1,
    "language": 1,
    "products": 1,
    "theory": 1,
}
"""Number of each stage. Raise it when other code or another default changes the stage's results; `make same` finds out.
Runs of the stage are then repeated, and no others."""
ENTRY = "identity"
"""Key of a run's identity in its provenance."""
RECORDED = ("versions", "package", "device", "threads")
"""Keys of provenance that say what computed a file. They do not identify it."""
PACKAGES = (
    *("numpy", "torch", "numba", "triton", "scipy", "scikit-learn", "h5py"),
    *("transformers", "tokenizers", "open_clip_torch", "torchvision", "pillow"),
)
"""Packages whose versions are recorded."""


def identity(
    stage: str,
    settings: Mapping[str, Any],
    seed: int | None = None,
    inputs: Mapping[str, Any] | None = None,
    plugins: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the identity of a run, as JSON holds it.

    ``settings`` are the settings that differ from their defaults (`sdlcore.settings.Settings.non_defaults`). ``inputs``
    contains a digest or a description of each input by name, None for an input that the run lacks; ``plugins``
    contains digests of the plugins' files.
    """
    digests = {name: digest for name, digest in (inputs or {}).items() if digest is not None}
    parts = {"settings": settings, "seed": seed, "inputs": digests, "plugins": plugins}
    parts = {name: part for name, part in parts.items() if part not in (None, {})}
    run: dict[str, Any] = json.loads(json.dumps({"stage": stage, "number": NUMBERS[stage], **parts}))
    return run


def provenance(**facts: Any) -> dict[str, Any]:
    """Return the provenance of a file: facts, then versions of packages and a digest of this package."""
    return {**facts, "versions": dict(_versions()), "package": _digest_of_package()}


def require_same(place: str | Path, recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Raise `SourceError` if a file or a folder ``recorded`` another identity than the one ``requested``.

    Both arguments are provenances. The message names the first difference, with both values. The value of a setting at
    its default comes from the provenance, which contains all settings.
    """
    runs = [_leaves(facts.get(ENTRY, {})) for facts in (recorded, requested)]
    missing = object()  # None is the value of some settings
    paths = {**runs[1], **runs[0]}
    path = next((path for path in paths if runs[0].get(path, missing) != runs[1].get(path, missing)), None)
    if path is None:
        return
    values = [
        {**_leaves(facts), **run}.get(path, "missing") for run, facts in zip(runs, (recorded, requested), strict=True)
    ]
    was, now = map(short_text, values)
    key = f"NUMBERS[{requested[ENTRY]['stage']!r}]" if path == ("number",) else ".".join(path).removeprefix("settings.")
    kind = "file" if Path(place).is_file() else "folder"
    difference = f"{key} is {was}, here {now}"
    raise SourceError(f"{place} belongs to another run: {difference}. Delete it, or choose another {kind}.")


def _leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return the values in nested dictionaries by their paths."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {place: leaf for key, part in value.items() for place, leaf in _leaves(part, (*path, key)).items()}


def log_other_computer(place: str | Path, recorded_facts: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Log the versions, the device and the code that computed a run, where they differ from those here."""
    recorded = recorded_facts.get("versions")
    versions = recorded if isinstance(recorded, dict) else {}
    others = [
        f"{name} {versions[name]} (here {now})"
        for name, now in here["versions"].items()
        if versions.get(name, now) != now
    ]
    if recorded_facts.get("device") != here.get("device"):
        others.append(f"device {recorded_facts.get('device')} (here {here.get('device')})")
    if recorded_facts.get("package") != here["package"]:
        others.append("other code of sdlcore")
    if others:
        log.warning(
            "%s was computed with %s; results can differ by rounding", place, ", ".join(map(short_text, others))
        )


def finished_files(pattern: str, run: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the JSON files of finished runs that match a glob pattern and have this identity."""
    for path in map(Path, sorted(glob.glob(pattern))):  # noqa: PTH207, it may be absolute
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.get("provenance", content).get(ENTRY) == run:
                yield path
        except (OSError, ValueError, RecursionError, AttributeError):  # not the file of a run
            continue


@cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


@cache
def _digest_of_package() -> str:
    """Return a digest of the modules of this package."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
