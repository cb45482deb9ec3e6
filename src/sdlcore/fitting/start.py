"""Start a training from a dictionary: its settings, and its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from sdlcore.config import Config, Searched, selects
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import load
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite

NOT_TAKEN_OVER = ("pair", "init_l0", "frozen", "archetypes", "relaxation")
"""Settings of a model that a start does not determine: the pair follows from the inputs; others would replace the
start's weights, or belong to a training."""
SCALINGS = ("normalise", "whiten")


def opened_start(start: Dictionary | str | Path | None) -> Dictionary | None:
    """Return the ``start`` of a training, opened if it is a path."""
    return load(start) if isinstance(start, str | Path) else start


def with_architecture(start: Dictionary, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training, completed by the architecture of its start. The given settings win.

    If they name another activation, the start's k is taken over only if this activation keeps k latents.
    """
    config = start.coder.config
    if config.activation in get_args(Searched) and isinstance(start.provenance.get("settings"), dict):
        # the architecture that was trained before the search
        config = Config.from_dict(start.settings).model
    architecture = {name: value for name, value in config.to_dict().items() if name not in NOT_TAKEN_OVER}
    activation = settings.get("activation", config.activation)
    if activation != config.activation:
        architecture = {name: value for name, value in architecture.items() if name not in (config.model_extra or {})}
        if not selects(activation):
            del architecture["k"]
    scalings = {name: bool(start.settings.get(name)) for name in SCALINGS}
    if not scalings.keys() & settings.keys():
        architecture |= scalings
    elif scalings != {name: bool(settings.get(name)) for name in SCALINGS}:
        # the biases that the start's scaling was folded into are needed without this scaling
        architecture["bias"] = config.bias or bool(start.b_enc.any() or start.b_dec.any())
    return {**architecture, **settings}


def check_start(start: SparseCoder, config: Config, sites: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Check that a training can take over the weights of its start, and that no setting replaces them."""
    check_finite_start(start)
    if start.config.pair != config.pair:
        raise ValueError(f"start has the pair {start.config.pair}, but the inputs are for pair {config.pair}")
    widths, expected = (start.W_enc.shape[1], start.W_dec.shape[1]), tuple(map(sum, sites))
    if widths != expected:
        n_p, n_r = expected
        raise ValueError(f"start maps {widths[0]} to {widths[1]} dimensions, but the inputs have {n_p} and {n_r}")
    if start.config.n_q > config.n_q:
        raise ValueError(f"start has {start.config.n_q} latents, but n_q is {config.n_q}; raise n_q")
    if config.init_l0 is not None and config.activation == start.config.activation:
        parameters = "thresholds" if config.activation == "jumprelu" else "encoder biases"
        raise ValueError(f"init_l0 would replace the {parameters} of start; leave init_l0 out")
    if start.config.skip and not config.skip and start.W_skip.any():
        raise ValueError("skip is False, but start has a linear path (W_skip); leave skip out")


def check_finite_start(start: SparseCoder) -> None:
    """Raise `ValueError` if a weight of a start is NaN or infinite."""
    if broken := not_finite(start.state_dict()):
        raise ValueError(f"start: {broken}, expected finite weights; start from a dictionary whose training converged")
