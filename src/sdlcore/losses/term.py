"""The interface of loss terms, and terms by the names that settings give them."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from torch import Tensor

from sdlcore.deprecation import renamed_names, warn_renamed
from sdlcore.model.coder import Forward, SparseCoder
from sdlcore.plugins.plugin_settings import settings_class
from sdlcore.plugins.registry import Extension, check_named, in_words, register, registered
from sdlcore.run import TAKEN, LossConfig, RunConfig
from sdlcore.settings import Weight

COLUMNS = ("loss", "reconstruction", "gate", "gradient_norm", "aux", "l0_penalty", "fvu", "step", "samples", "seconds")
"""Columns of histories, which no plugin's term may be called."""
AnyCompute = TypeVar("AnyCompute", bound=Callable[..., Tensor])


class TermInputs(NamedTuple):
    """What a loss term is computed from."""

    model: SparseCoder
    target: Tensor
    """x_r (B x n_r)."""
    out: Forward
    """The model's pass over the input."""
    config: LossConfig
    anchors: tuple[Tensor, Tensor] | None = None
    """k x n_p and k x n_r anchor directions of the model's first k latents."""
    anchored_rows: tuple[Tensor, Tensor] | None = None
    """k x n_p and k x n_r rows of encoder and decoder that the anchors' term reads; None for the model's own."""

    @property
    def held(self) -> tuple[Tensor, Tensor] | None:
        """Deprecated: `anchored_rows` under its old name."""
        warn_renamed("held of a loss term's inputs", "anchored_rows")
        return self.anchored_rows


@dataclass(frozen=True)
class Term:
    """A summand of the loss. The module of its name has it as ``TERM``."""

    name: str
    """What histories call it."""
    compute: Callable[[TermInputs], Tensor]
    """Returns it without its weight (0-d): a sum over dimensions, a mean over the batch."""
    weight: str | None
    """The setting that it is multiplied by; None of a term that takes the place of the reconstruction."""
    rises: bool = False
    """Whether warm-up and ``target_l0`` change its weight."""
    norms: Callable[[LossConfig], bool] = lambda config: False
    """Whether the pass has to give the norms of decoder rows."""
    falls: bool = False
    """Whether ``anchor_until`` and ``anchor_fall`` change its weight."""
    error: bool = False
    """Whether it is a squared error, which ``loss_scale`` divides."""


def loss_term(name: str, *, rises: bool = False, norms: bool = False) -> Callable[[AnyCompute], AnyCompute]:
    """Register a function as a loss term: configurations ask for it by its weight, which has its name.

    The function takes `TermInputs` and returns the term without its weight (0-d): a sum over dimensions, a mean over
    the batch. Its keyword-only parameters are settings, which are checked like the built-in ones.

    Parameters
    ----------
    name
        What configurations and histories call it: lower-case letters, digits and underscores.
    rises, norms
        As of `Term`.

    Raises
    ------
    PluginError
        If the name is taken, or a setting has the name of one of ours or a type that no configuration can hold.
    """

    check_named(name, "loss_term")

    def add(compute: AnyCompute) -> AnyCompute:
        settings = settings_class(compute, f"loss term {name}", {name: (Weight, 0.0)}, ("inputs",))
        facts = {"rises": rises, "norms": norms}
        ours = (*(one.metadata["term"] for one in fields(LossConfig) if "term" in one.metadata), *COLUMNS)
        register(Extension("loss term", name, compute, settings, facts), ours, [*RunConfig().to_dict(), *TAKEN])
        return compute

    return add


def term_of(name: str) -> Term:
    """Return a term: of the module of its name, which alone is imported, or of a plugin."""
    own = registered("loss term", name)
    if own is not None:
        return Term(name, lambda inputs: _own(own, inputs), name, own.facts["rises"], lambda _: own.facts["norms"])
    found: Term = import_module(f"sdlcore.losses.{name}").TERM
    return found


def _own(own: Extension, inputs: TermInputs) -> Tensor:
    """Compute a plugin's term with its settings; ValueError naming one that is no tensor of shape ()."""
    names = [one.name for one in fields(own.settings) if one.name != own.name]
    settings = {name: inputs.config.own[name] for name in names}
    found = own.made(inputs, **settings)
    if not isinstance(found, Tensor) or found.ndim:
        raise ValueError(f"loss term {own.name} returned {in_words(found)}, expected a tensor of shape ()")
    return found


if not TYPE_CHECKING:  # with a __getattr__, mypy would accept any name of this module
    __getattr__ = renamed_names(__name__, {"Given": ("sdlcore.TermInputs", TermInputs)})
