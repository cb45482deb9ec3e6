"""Measure the loss of a language model when reconstructions replace its activations.

There are two measures, over contexts that training did not see, in nats a token: the next-token cross-entropy of the
whole model, and the divergence KL(clean || changed) of its next-token distributions. The changed model has the
reconstruction spliced in, or its activations ablated, i.e. set to zero or to their mean. The shares recovered are
(ablated - spliced) / (ablated - clean) for the loss and 1 - spliced / ablated for the divergence. Both are 1 for a
perfect reconstruction, and 0 for a reconstruction as bad as the ablation.

Rows that extraction leaves out (the attention sink, separators, outliers) stay clean, in the ablations too, since the
dictionary was not trained on them.

The clean and the ablated model depend on the text and the site only. They run once for all dictionaries of a site.
Blocks before the site run once for each context, since no replacement changes them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.architectures import Paths
from sdlcore.extraction.config import Site
from sdlcore.extraction.engine import norms_of
from sdlcore.extraction.forward import KEPT, RowKinds, stack_batches
from sdlcore.extraction.hooks import Stack, without_dropout
from sdlcore.extraction.tokens import Tokens
from sdlcore.inside.hooks import read_and_write, require_width
from sdlcore.inside.splicing import replacing
from sdlcore.model.coder import SparseCoder

ROWS_AT_ONCE = 4096
Reconstruct = Callable[[Tensor], Tensor]
"""A function from N x n_p activations at the site it reads to N x n_r activations that replace those it writes."""
Name = TypeVar("Name")


def reconstruction_by(coder: SparseCoder) -> Reconstruct:
    """Return the reconstruction of activations by a dictionary, which may be on another device."""

    def reconstruct(x_NP: Tensor) -> Tensor:
        require_width(coder, x_NP)
        return coder(x_NP.to(coder.W_enc.device)).x_hat.to(x_NP.device)

    return reconstruct


class LossRecovered(NamedTuple):
    """Losses in nats a token, of one dictionary; prints as a small table."""

    clean: float
    """Loss of the unchanged model."""
    spliced: float
    """Loss with the reconstruction in place of the activations."""
    zero: float
    """Loss with zero in place of the activations."""
    mean: float
    """Loss with the mean in place of the activations."""
    recovered_zero: float | None
    """Share of the loss recovered, (zero - spliced) / (zero - clean); None if ablation changes nothing."""
    recovered_mean: float | None
    """Share of the loss recovered, (mean - spliced) / (mean - clean)."""
    kl_spliced: float
    """Divergence with the reconstruction in place of the activations, KL(clean || spliced)."""
    kl_zero: float
    """Divergence with zero in place of the activations, KL(clean || zero)."""
    kl_mean: float
    """Divergence with the mean in place of the activations, KL(clean || mean)."""
    kl_recovered_zero: float | None
    """Share of the divergence recovered, 1 - kl_spliced / kl_zero; None if ablation changes nothing."""
    kl_recovered_mean: float | None
    """Share of the divergence recovered, 1 - kl_spliced / kl_mean."""
    predictions: int
    """Number of predicted tokens."""
    replaced: float
    """Share of the contexts' tokens whose activations were replaced."""

    def __repr__(self) -> str:
        """Return losses, divergences and shares recovered as a text table."""
        rows: list[tuple[str, float | None, float | None]] = [
            ("clean model", self.clean, 0.0),
            ("with the dictionary", self.spliced, self.kl_spliced),
            ("zero ablation", self.zero, self.kl_zero),
            ("mean ablation", self.mean, self.kl_mean),
            ("recovered from zero", self.recovered_zero, self.kl_recovered_zero),
            ("recovered from mean", self.recovered_mean, self.kl_recovered_mean),
        ]
        lines = [f"{'':<19}  cross-entropy       KL"]
        for name, *values in rows:
            loss, divergence = ("-" if value is None else f"{value:.4g}" for value in values)
            lines.append(f"{name:<19}  {loss:>13}  {divergence:>7}")
        lines.append(f"in nats a token, over {self.predictions} predictions; {self.replaced:.1%} of tokens replaced")
        return "\n".join(lines)


def mean_of(store: ActivationStore, column: str) -> np.ndarray:
    """Return the mean (n_r, float32) of a column of a store."""
    blocks = range(0, store.rows, ROWS_AT_ONCE)
    total = sum(store.read(column, start, start + ROWS_AT_ONCE).sum(0, dtype=np.float64) for start in blocks)
    return (total / store.rows).astype(np.float32)


@torch.inference_mode()
def losses_recovered(
    model: Any,
    reconstruct: Mapping[Name, Reconstruct],
    contexts: Iterable[Tokens],
    sites: Mapping[str, Site],
    pair: str,
    kinds: RowKinds,
    mean_R: Tensor,
    paths: Paths | None = None,
) -> dict[Name, LossRecovered]:
    """Return the losses of a language model, in evaluation mode, with and without each of several dictionaries.

    Parameters
    ----------
    model
        A whole causal language model.
    reconstruct
        The dictionaries by name, e.g. ``{"topk": reconstruction_by(coder)}``. Each takes and returns float32.
    contexts
        Held-out contexts.
    sites
        Column of the store -> site, as in the source.
    pair
        The pair of all dictionaries.
    kinds
        Kinds of rows to leave out, as in extraction.
    mean_R
        Mean of the replaced activations (n_r).
    paths
        Paths of the modules, for a model of an unknown architecture.

    Raises
    ------
    ValueError
        If there is no context, or dictionaries of this pair cannot be spliced in (`read_and_write`).
    """
    stack = Stack.of(model, paths)
    read, write = read_and_write(sites, pair)
    blocks_before = max(0, min(read.block, write.block) - 1)
    ablations: dict[str, Reconstruct] = {
        "zero": lambda x: x.new_zeros(len(x), len(mean_R)),
        "mean": lambda x: mean_R.to(x).expand(len(x), -1),
    }
    loss, predictions, replaced, token_count = 0.0, 0, 0, 0
    ablated = {name: _Change(change) for name, change in ablations.items()}
    spliced = {name: _Change(change) for name, change in reconstruct.items()}
    with without_dropout(model):
        for tokens in stack_batches(contexts, 1):
            ids_BT = stack.ids(tokens.token)
            with stack.recording(blocks_before) as outputs:
                clean, norms = _clean(model, stack, ids_BT, sites)
            kept_N = kinds.of(tokens, norms) == KEPT
            kept_BT = torch.from_numpy(kept_N).to(ids_BT.device).reshape(ids_BT.shape)
            loss += float(clean.loss(ids_BT))
            with stack.repeating(outputs):
                for change in (*ablated.values(), *spliced.values()):
                    changed = _changed(model, stack, ids_BT, read, write, kept_BT, change.function)
                    change.loss += float(changed.loss(ids_BT))
                    change.divergence += float(clean.divergence(changed))
            predictions += ids_BT[:, 1:].numel()
            replaced += int(kept_N.sum())
            token_count += ids_BT.numel()
    if not predictions:
        raise ValueError("there is no context to evaluate a language model on")
    clean_loss = loss / predictions
    means = {name: change.mean(predictions) for name, change in ablated.items()}
    return {
        name: _shares(clean_loss, change.mean(predictions), means, predictions, replaced / token_count)
        for name, change in spliced.items()
    }


class _Means(NamedTuple):
    loss: float
    divergence: float


@dataclass
class _Change:
    """A function of the activations, with the loss and the divergence of the changed model, summed over tokens."""

    function: Reconstruct
    loss: float = 0.0
    divergence: float = 0.0

    def mean(self, predictions: int) -> _Means:
        return _Means(self.loss / predictions, self.divergence / predictions)


def _shares(
    clean: float, spliced: _Means, ablated: Mapping[str, _Means], predictions: int, replaced: float
) -> LossRecovered:
    zero, mean = ablated["zero"], ablated["mean"]
    return LossRecovered(
        clean=clean,
        spliced=spliced.loss,
        zero=zero.loss,
        mean=mean.loss,
        recovered_zero=_recovered(zero.loss, spliced.loss, clean),
        recovered_mean=_recovered(mean.loss, spliced.loss, clean),
        kl_spliced=spliced.divergence,
        kl_zero=zero.divergence,
        kl_mean=mean.divergence,
        kl_recovered_zero=_recovered(zero.divergence, spliced.divergence, 0.0),
        kl_recovered_mean=_recovered(mean.divergence, spliced.divergence, 0.0),
        predictions=predictions,
        replaced=replaced,
    )


def _recovered(ablated: float, spliced: float, clean: float) -> float | None:
    return (ablated - spliced) / (ablated - clean) if ablated != clean else None


class Predictions(NamedTuple):
    """Next-token distributions of a model over B contexts of T tokens."""

    log_p: Tensor
    """Log probabilities, B x (T - 1) x V. The last token of a context has no next token."""

    @classmethod
    def of(cls, model: Any, ids_BT: Tensor) -> "Predictions":
        # computed by the model itself, since some models cap or scale their logits
        logits_BTV = model(ids_BT, use_cache=False).logits[:, :-1].float()
        return cls(logits_BTV.log_softmax(-1))

    def loss(self, ids_BT: Tensor) -> Tensor:
        """Return the cross-entropy of the next tokens, summed over the contexts (0-d, float64), with its graph."""
        return -self.log_p.gather(-1, ids_BT[:, 1:, None]).sum(dtype=torch.float64)

    def divergence(self, other: "Predictions") -> Tensor:
        """Return the divergence KL(self || other), summed over the contexts (0-d, float64), with its graph."""
        difference_BTV = torch.where(self.log_p.isneginf(), 0.0, self.log_p - other.log_p)
        return (self.log_p.exp() * difference_BTV).sum(dtype=torch.float64)


def _clean(
    model: Any, stack: Stack, ids_BT: Tensor, sites: Mapping[str, Site]
) -> tuple[Predictions, dict[str, np.ndarray]]:
    """Return the predictions of the unchanged model, and the norms (BT) of the activations at each site."""
    norms: dict[str, np.ndarray] = {}

    def measure(name: str, x_BTD: Tensor) -> None:
        norms[name] = norms_of(x_BTD).flatten().cpu().numpy()

    with stack.watch_all(sites, measure):
        return Predictions.of(model, ids_BT), norms


def _changed(
    model: Any, stack: Stack, ids_BT: Tensor, read: Site, write: Site, kept_BT: Tensor, reconstruct: Reconstruct
) -> Predictions:
    """Return the predictions of the model with the kept rows at ``write`` replaced, computed from those at ``read``."""
    with replacing(stack, read, write, lambda x_NP, _: reconstruct(x_NP), lambda _: kept_BT):
        return Predictions.of(model, ids_BT)
