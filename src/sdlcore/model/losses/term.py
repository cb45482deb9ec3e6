"""The interface of loss terms, and their lookup by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from torch import Tensor

from sdlcore.config import TAKEN, TERMS, Config, LossConfig
from sdlcore.model.forward import Forward
from sdlcore.plugins.registry import Extension, extension, in_words, registered
from sdlcore.settings import Weight

if TYPE_CHECKING:
    from sdlcore.model.coder import SparseCoder

COLUMNS = (
    *("loss", "reconstruction", "gate", "gradient_norm", "aux", "l0_penalty", "fvu", "step", "samples", "seconds"),
    *("penalty_factor", "l1_exponent", "kl", "cross_entropy", "dead_fraction", "resampled", "input_norm"),
)
"""Columns of histories, which are reserved names for terms of plugins."""
AnyCompute = TypeVar("AnyCompute", bound=Callable[..., Tensor])


class TermInputs(NamedTuple):
    """The inputs of a loss term: model, target, forward pass, settings of the loss, and anchors."""

    model: "SparseCoder"
    target: Tensor
    """x_r (B x n_r)."""
    out: Forward
    """The model's pass over the input."""
    config: LossConfig
    anchors: tuple[Tensor, Tensor] | None = None
    """A x n_p and A x n_r directions that the model's first A latents are anchored to."""
    anchored_rows: tuple[Tensor, Tensor] | None = None
    """The first A rows of encoder and decoder, which the anchor term reads and gives gradients; None for the model's
    own rows."""
    step: int = 0
    """Number of the step, from 0; 0 in a training loop of the user's own."""
    exponent: float = 1.0
    """Exponent of the latents in l1, which falls with ``l1_exponent_end``."""


@dataclass(frozen=True)
class Term:
    """A summand of the loss. The built-in terms are the variable ``TERM`` of the module with their name."""

    name: str
    """Name in histories."""
    compute: Callable[[TermInputs], Tensor]
    """Returns the unweighted term (0-d): a sum over dimensions, a mean over the batch."""
    weight: str | None
    """Name of the setting that multiplies it; None for a term that replaces the reconstruction error."""
    is_penalty: bool = False
    """Whether ``penalty_warmup`` and ``target_l0`` change its weight (`sdlcore.training.schedules`)."""
    norms: Callable[[LossConfig], bool] = lambda config: False
    """Whether it needs the norms of decoder rows from the forward pass."""
    is_anchoring: bool = False
    """Whether ``anchor_until`` and ``anchor_fall`` change its weight."""
    error: bool = False
    """Whether it is a squared error, which ``loss_scale`` divides."""


def loss_term(name: str, *, is_penalty: bool = False, norms: bool = False) -> Callable[[AnyCompute], AnyCompute]:
    """Register a function as a loss term. Its weight is a setting with the term's name, and 0 turns it off.

    The function takes `TermInputs` and returns the unweighted term (0-d): a sum over dimensions, a mean over the batch.
    Its keyword-only parameters become settings, checked like the built-in ones.

    Parameters
    ----------
    name
        Name in configurations and histories: lower-case letters, digits and underscores.
    is_penalty
        Whether the term keeps latents sparse, so that ``penalty_warmup`` and ``target_l0`` change its weight.
    norms
        Whether the term reads ``inputs.out.norms``, the norm of each decoder row (n_q); None if all are one.

    Raises
    ------
    PluginError
        If the name is taken, or a setting is named like a built-in one or has a type that configurations cannot hold.
    """
    ours, reserved = (*TERMS.values(), *COLUMNS), [*Config.model_fields, *TAKEN]
    weight = {name: (Weight, 0.0)}
    return extension(
        "loss term", name, ours, reserved, {"is_penalty": is_penalty, "norms": norms}, more=weight, takes=1
    )


def term_of(name: str) -> Term:
    """Return a loss term by name, importing only its module or taking it from a plugin."""
    plugin = registered("loss term", name)
    if plugin is not None:
        return Term(
            name,
            lambda inputs: _compute_plugin(plugin, inputs),
            name,
            plugin.facts["is_penalty"],
            lambda _: plugin.facts["norms"],
        )
    term: Term = import_module(f"sdlcore.model.losses.{name}").TERM
    return term


def weighted_by_decoder(values_N: Tensor, inputs: TermInputs) -> Tensor:
    """Return values at the entries of the pass times the norms of their decoder rows."""
    if inputs.model.decoder_is_unit:
        return values_N
    assert inputs.out.norms is not None, "the term needs a pass with norms=True"
    return values_N * inputs.out.support.per_latent(inputs.out.norms)


def _compute_plugin(plugin: Extension, inputs: TermInputs) -> Tensor:
    """Compute a plugin's term with its settings; raise ValueError, naming it, if the result is not a 0-d tensor."""
    names = [name for name in plugin.settings.model_fields if name != plugin.name]
    settings = {name: getattr(inputs.config, name) for name in names}
    value = plugin.implementation(inputs, **settings)
    if not isinstance(value, Tensor) or value.ndim:
        raise ValueError(f"loss term {plugin.name} returned {in_words(value)}, expected a tensor of shape ()")
    return value
