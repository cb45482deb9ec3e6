"""Measure the loss that a language model recovers when reconstructions replace its activations.

The next-token cross-entropy of the whole model, in nats a token, over contexts that training did not see: clean, with
the reconstruction spliced in, and with the activations ablated, i.e. set to zero or to their mean. The share recovered,
(ablated - spliced) / (ablated - clean), is 1 for a perfect reconstruction and 0 for one that is no better than none.

Rows that extraction leaves out (the attention sink, separators, outliers) stay clean, since the dictionary was not
trained on them; so does position 0 in the ablations.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.data.reading import ActivationStore
from sdlcore.inside.hooks import read_and_write, stack_of
from sdlcore.inside.splicing import replacing
from sdlcore.sources.language.forward import KEPT, RowKinds, stack_batches
from sdlcore.sources.language.settings import Site
from sdlcore.sources.language.sites import watch
from sdlcore.sources.language.tokens import Tokens

ROWS_AT_ONCE = 4096
Reconstruct = Callable[[Tensor], Tensor]
"""Takes N x n_p activations where they are read, gives the N x n_r that take their place where they are written."""


class LossRecovered(NamedTuple):
    """Losses in nats a token."""

    clean: float
    """Of the model as it is."""
    spliced: float
    """With the reconstruction in place of the activations."""
    zero: float
    """With zero in their place."""
    mean: float
    """With their mean in their place."""
    recovered_zero: float | None
    """(zero - spliced) / (zero - clean); None where ablation changes nothing."""
    recovered_mean: float | None
    """(mean - spliced) / (mean - clean)."""
    predictions: int
    """Tokens predicted."""
    replaced: float
    """Share of the contexts' tokens whose activations were replaced."""


def mean_of(store: ActivationStore, column: str) -> np.ndarray:
    """Return the mean (n_r, float32) of a column of activations."""
    blocks = range(0, store.rows, ROWS_AT_ONCE)
    total = sum(store.read(column, start, start + ROWS_AT_ONCE).sum(0, dtype=np.float64) for start in blocks)
    return (total / store.rows).astype(np.float32)


@torch.inference_mode()
def loss_recovered(
    model: Any,
    reconstruct: Reconstruct,
    contexts: Iterable[Tokens],
    sites: Mapping[str, Site],
    pair: str,
    kinds: RowKinds,
    mean_R: Tensor,
) -> LossRecovered:
    """Return the losses of a language model with and without a dictionary in it.

    Parameters
    ----------
    model
        A whole causal language model like Llama or GPT-2.
    reconstruct
        The dictionary, e.g. ``lambda x: coder(x).x_hat`` of a `SparseCoder`; takes and gives float32.
    contexts
        Held-out contexts.
    sites
        The source's, by column of the store.
    pair
        The dictionary's.
    kinds
        Which rows are left out, as in extraction.
    mean_R
        Mean of the activations that are replaced (n_r).
    """
    read, write = read_and_write(sites, pair)
    changes: dict[str, Reconstruct] = {
        "spliced": reconstruct,
        "zero": lambda x: x.new_zeros(len(x), len(mean_R)),
        "mean": lambda x: mean_R.to(x).expand(len(x), -1),
    }
    losses = dict.fromkeys(["clean", *changes], 0.0)
    predictions, replaced, seen = 0, 0, 0
    device = next(model.parameters()).device
    for tokens in stack_batches(contexts, 1):
        ids_BT = torch.from_numpy(tokens.token).long().to(device)
        clean, norms = _clean_loss(model, ids_BT, sites)
        kept_N = kinds.of(tokens, norms) == KEPT
        kept_BT = torch.from_numpy(kept_N).to(device).reshape(ids_BT.shape)
        losses["clean"] += clean
        for name, change in changes.items():
            losses[name] += _changed_loss(model, ids_BT, read, write, kept_BT, change)
        predictions += ids_BT[:, 1:].numel()
        replaced += int(kept_N.sum())
        seen += ids_BT.numel()
    if not predictions:
        raise ValueError("there is no context to evaluate a language model on")
    mean = {name: loss / predictions for name, loss in losses.items()}
    return LossRecovered(
        **mean,
        recovered_zero=_recovered(mean["zero"], mean["spliced"], mean["clean"]),
        recovered_mean=_recovered(mean["mean"], mean["spliced"], mean["clean"]),
        predictions=predictions,
        replaced=replaced / seen,
    )


def _recovered(ablated: float, spliced: float, clean: float) -> float | None:
    return (ablated - spliced) / (ablated - clean) if ablated != clean else None


def _clean_loss(model: Any, ids_BT: Tensor, sites: Mapping[str, Site]) -> tuple[float, dict[str, np.ndarray]]:
    """Return the summed loss of the model as it is, and the norms (BT) of the activations at each site."""
    norms: dict[str, np.ndarray] = {}

    def measure(name: str) -> Callable[[Tensor], None]:
        def see(x_BTD: Tensor) -> None:
            norms[name] = torch.linalg.vector_norm(x_BTD, dim=-1, dtype=torch.float32).flatten().cpu().numpy()

        return see

    with ExitStack() as watches:
        for name, site in sites.items():
            watches.callback(watch(stack_of(model), site, measure(name)).remove)
        return _loss(model, ids_BT), norms


def _changed_loss(
    model: Any, ids_BT: Tensor, read: Site, write: Site, kept_BT: Tensor, reconstruct: Reconstruct
) -> float:
    """Return the summed loss with the kept rows at ``write`` replaced by a change of what passed ``read``."""
    with replacing(stack_of(model), read, write, lambda x_NP, _: reconstruct(x_NP), lambda _: kept_BT):
        return _loss(model, ids_BT)


def _loss(model: Any, ids_BT: Tensor) -> float:
    """Return the sum of next-token cross-entropies, with the logits of one context in memory at a time."""
    hidden_BTD = model.base_model(ids_BT, use_cache=False).last_hidden_state
    total = 0.0
    for hidden_TD, ids_T in zip(hidden_BTD, ids_BT, strict=True):
        logits_TV = model.get_output_embeddings()(hidden_TD[:-1]).float()
        total += float(nn.functional.cross_entropy(logits_TV, ids_T[1:], reduction="sum"))
    return total
