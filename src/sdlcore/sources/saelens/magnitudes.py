"""Feature magnitudes of SAELens' synthetic models, which are not saved but drawn from configuration and seed."""

from typing import Any

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.text import short_text

KINDS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "linear": ("start", "end"),
    "exponential": ("start", "end"),
    "folded_normal": ("mean", "std", "min_value", "max_value"),
}
"""Supported generators and their settings."""
DEFAULTS: dict[str, Any] = {"value": 1.0, "mean": 0.0, "std": 0.1, "min_value": None, "max_value": None}
LARGEST = float(np.finfo(np.float32).max)
OFFSETS = {"std_firing_magnitudes": 1, "mean_firing_magnitudes": 2}
"""Number that SAELens adds to a model's seed, for each kind of magnitude."""


def check_magnitudes(config: dict[str, Any], key: str) -> None:
    """Check that magnitudes can be drawn exactly as by SAELens.

    Raises
    ------
    SourceError
        If not; the message names the key and the value.
    """
    entry = config[key]
    if not isinstance(entry, dict):
        if not _is_number(entry):
            raise SourceError(f"{key}: {entry!r:.60}, expected a number or the settings of a generator")
        return
    name = entry.get("generator_name")
    if not isinstance(name, str) or name not in KINDS:
        raise SourceError(f"{key}.generator_name: {name!r} is not supported; expected one of {', '.join(KINDS)}")
    expected = KINDS[name]
    if unknown := sorted(entry.keys() - {"generator_name", *expected}):
        raise SourceError(f"{key}.{short_text(unknown[0])}: unknown for {name}; expected some of {', '.join(expected)}")
    for setting in expected:
        value = entry.get(setting, DEFAULTS.get(setting))
        if not _is_number(value) and not (value is None and setting in ("min_value", "max_value")):
            raise SourceError(f"{key}.{setting}: {value!r:.60}, expected a number")
    if name == "exponential" and min(entry["start"], entry["end"]) <= 0:
        raise SourceError(f"{key}: exponential from {entry['start']} to {entry['end']}, expected numbers above 0")
    if name == "folded_normal" and config["seed"] is None:
        raise SourceError(
            f"seed: null, but {key} of {name} are drawn from it and not saved, so SAELens itself draws others each "
            "time it loads the model; save the model with a seed"
        )


def magnitudes(config: dict[str, Any], key: str) -> np.ndarray:
    """Draw the magnitudes (n, float32) for ``key`` of a checked configuration, as SAELens does."""
    import torch  # imported here, since few models need it

    entry, n = config[key], config["num_features"]
    settings = {"generator_name": "constant", "value": entry} if not isinstance(entry, dict) else DEFAULTS | entry
    kind = settings["generator_name"]
    if kind == "constant":
        return np.full(n, settings["value"], dtype=np.float32)
    if kind == "folded_normal":
        generator = torch.Generator().manual_seed(config["seed"] + OFFSETS[key])
        drawn = settings["mean"] + settings["std"] * torch.randn(n, generator=generator)
        least, most = settings["min_value"], settings["max_value"]
        bounds = 0 if least is None else least, np.inf if most is None else most
        return np.clip(np.abs(drawn.numpy()), *bounds).astype(np.float32)
    start, end = settings["start"], settings["end"]
    if kind == "linear":
        return np.linspace(start, end, n, dtype=np.float32)
    return np.geomspace(start, end, n).astype(np.float32)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number in the range of float32."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
