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

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sdlcore.data.reading import ActivationStore
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import coder_of
from sdlcore.extraction.config import Site, TextOptions
from sdlcore.extraction.engine import norms_of, read_contexts
from sdlcore.extraction.hooks import Stack, ids_for, without_dropout
from sdlcore.extraction.places import Paths
from sdlcore.extraction.tokens import KEPT, RowKinds, Tokens, stack_batches
from sdlcore.extras import data_frame
from sdlcore.inside.hooks import Layer, Place, read_and_write, require_width, sites_of, where_in
from sdlcore.inside.reader import DROP, Reader
from sdlcore.inside.splice import replacing
from sdlcore.model.coder import SparseCoder
from sdlcore.text import number, table
from sdlcore.user_warnings import warn_at_call

if TYPE_CHECKING:
    import pandas as pd

ROWS_AT_ONCE = 4096
BRIEF = (
    "clean",
    "spliced",
    "zero",
    "mean",
    "recovered_zero",
    "recovered_mean",
    "kl_spliced",
    "kl_recovered_zero",
    "kl_recovered_mean",
)
"""Columns of the printed table."""
LITTLE = 0.05
"""Nats a token below which an ablation costs too little for shares of the cross-entropy."""
Reconstruct = Callable[[Tensor], Tensor]
"""A function from N x n_p activations at the site it reads to N x n_r activations that replace those it writes."""
DictionaryName = TypeVar("DictionaryName")


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
        rows = {
            "clean model": (self.clean, 0.0),
            "with the dictionary": (self.spliced, self.kl_spliced),
            "zero ablation": (self.zero, self.kl_zero),
            "mean ablation": (self.mean, self.kl_mean),
            "recovered from zero": (self.recovered_zero, self.kl_recovered_zero),
            "recovered from mean": (self.recovered_mean, self.kl_recovered_mean),
        }
        cells = [[name, *(number(value) for value in values)] for name, values in rows.items()]
        note = f"in nats a token, over {self.predictions} predictions; {self.replaced:.1%} of tokens replaced"
        return f"{table([['', 'cross-entropy', 'KL'], *cells])}\n{note}"


class LanguageScores(dict[Any, LossRecovered]):
    """The scores of several dictionaries by their names; prints as a small table."""

    def to_frame(self) -> "pd.DataFrame":
        """Return a table, a row a dictionary."""
        return data_frame(self.values(), index=[str(name) for name in self], columns=LossRecovered._fields)

    def __repr__(self) -> str:
        values = {str(name): [getattr(scores, column) for column in BRIEF] for name, scores in self.items()}
        rows = [[name, *(number(value) for value in row)] for name, row in values.items()]
        return table([["", *BRIEF], *rows])


def mean_of(store: ActivationStore, column: str) -> np.ndarray:
    """Return the mean (n_r, float32) of a column of a store."""
    blocks = range(0, store.rows, ROWS_AT_ONCE)
    total = sum(store.read(column, start, start + ROWS_AT_ONCE).sum(0, dtype=np.float64) for start in blocks)
    return (total / store.rows).astype(np.float32)


@torch.inference_mode()
def losses_recovered(
    model: Any,
    reconstruct: Mapping[DictionaryName, Reconstruct],
    contexts: Iterable[Tokens],
    sites: Mapping[str, Site],
    pair: str,
    kinds: RowKinds,
    mean_R: Tensor,
    paths: Paths | Mapping[str, str] | None = None,
) -> dict[DictionaryName, LossRecovered]:
    """Return the losses of a whole language model on contexts, in evaluation mode, with and without each dictionary.

    ``reconstruct`` are the dictionaries by name, e.g. ``{"topk": reconstruction_by(coder)}``; each takes and returns
    float32. All of them have these ``sites`` and this ``pair``. Rows of kinds outside ``kinds`` keep the model's
    activations. ``mean_R`` is the mean of the replaced activations (n_r).

    Raises
    ------
    ValueError
        If there is no context, or dictionaries of this pair cannot be spliced in (`read_and_write`).
    """
    stack = Stack.of(model, paths)
    read, write = read_and_write(sites, pair)
    blocks_before = max(0, min(read.block, write.block) - 1)
    changes: list[Reconstruct] = [
        lambda x: x.new_zeros(len(x), len(mean_R)),
        lambda x: mean_R.to(x).expand(len(x), -1),
        *reconstruct.values(),
    ]
    clean_loss, sums = 0.0, np.zeros((len(changes), 2))  # cross-entropy and divergence of each
    predictions, replaced, token_count = 0, 0, 0
    norms: dict[str, np.ndarray] = {}

    def measure(name: str, x_BTD: Tensor) -> None:
        norms[name] = norms_of(x_BTD).flatten().cpu().numpy()

    def changed(change: Reconstruct, ids_BT: Tensor, kept_BT: Tensor) -> Tensor:
        with replacing(stack, read, write, lambda x, _: change(x), lambda _: kept_BT):
            return _log_probabilities(model, ids_BT)

    with without_dropout(model):
        for tokens in stack_batches(contexts, 1):
            ids_BT = ids_for(stack.model, tokens.token)
            with stack.recording(blocks_before) as outputs, stack.watch_all(sites, measure):
                clean_BTV = _log_probabilities(model, ids_BT)
            kept_N = kinds.of(tokens, norms) == KEPT
            kept_BT = torch.from_numpy(kept_N).to(ids_BT.device).reshape(ids_BT.shape)
            clean_loss += _cross_entropy(clean_BTV, ids_BT)
            with stack.repeating(outputs):
                for place, change in enumerate(changes):
                    changed_BTV = changed(change, ids_BT, kept_BT)
                    sums[place] += _cross_entropy(changed_BTV, ids_BT), _divergence(clean_BTV, changed_BTV)
            predictions += ids_BT[:, 1:].numel()
            replaced += int(kept_N.sum())
            token_count += ids_BT.numel()
    if not predictions:
        raise ValueError("there is no context to evaluate a language model on")
    (zero, kl_zero), (mean, kl_mean), *spliced = (sums / predictions).tolist()
    clean = clean_loss / predictions
    return {
        name: LossRecovered(
            clean=clean,
            spliced=loss,
            zero=zero,
            mean=mean,
            recovered_zero=_recovered(zero, loss, clean),
            recovered_mean=_recovered(mean, loss, clean),
            kl_spliced=divergence,
            kl_zero=kl_zero,
            kl_mean=kl_mean,
            kl_recovered_zero=_recovered(kl_zero, divergence, 0.0),
            kl_recovered_mean=_recovered(kl_mean, divergence, 0.0),
            predictions=predictions,
            replaced=replaced / token_count,
        )
        for name, (loss, divergence) in zip(reconstruct, spliced, strict=True)
    }


def _recovered(ablated: float, spliced: float, clean: float) -> float | None:
    return (ablated - spliced) / (ablated - clean) if ablated != clean else None


def _log_probabilities(model: Any, ids_BT: Tensor) -> Tensor:
    """Return a model's log probabilities of next tokens, B x (T - 1) x V; the last token has no next token."""
    # computed by the model itself, since some models cap or scale their logits
    output = model(ids_BT, use_cache=False)
    logits_BTV = output if isinstance(output, Tensor) else output.logits  # a TransformerBridge returns a tensor
    return logits_BTV[:, :-1].float().log_softmax(-1)


def _cross_entropy(log_p_BTV: Tensor, ids_BT: Tensor) -> float:
    """Return the cross-entropy of the next tokens, summed over the contexts in float64."""
    return -float(log_p_BTV.gather(-1, ids_BT[:, 1:, None]).sum(dtype=torch.float64))


def _divergence(log_p_BTV: Tensor, other_BTV: Tensor) -> float:
    """Return the divergence KL(p || other) of the next tokens, summed over the contexts in float64."""
    difference_BTV = torch.where(log_p_BTV.isneginf(), 0.0, log_p_BTV - other_BTV)
    return float((log_p_BTV.exp() * difference_BTV).sum(dtype=torch.float64))


def language_scores(
    dictionary: Dictionary | SparseCoder | Mapping[Any, Dictionary | SparseCoder],
    lm: Any,
    texts: str | Path | Iterable[str],
    *,
    layer: Layer | None = None,
    place: Place | None = None,
    contexts: int = 64,
    tokenizer: Any = None,
    context_length: int | None = None,
    contexts_per_batch: int = 16,
    bos: bool | None = None,
    drop: tuple[str, ...] = DROP,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    paths: Paths | Mapping[str, str] | None = None,
    progress: bool = True,
) -> Any:
    """Measure the cross-entropy and the KL divergence that a language model keeps with a dictionary in it.

    Parameters
    ----------
    dictionary
        An autoencoder or transcoder; or several, by name. The clean model and the ablations run once for all
        dictionaries of a site, so three dictionaries need six passes over the text and not twelve. All but the first
        pass start at the block of the dictionary.
    lm
        A decoder-only transformers model, or its name, as in `extract`.
    texts
        Documents that training did not see, as in `extract`.
    layer, place, paths
        Where the dictionary was fitted, as for `splice`.
    contexts
        Number of contexts from the beginning of the texts. Mean ablation writes their mean activations.
    tokenizer, context_length, contexts_per_batch, bos, drop, text_options
        How the model reads the texts, as for `contexts`.
    progress
        Show a bar.

    Returns
    -------
    A `LossRecovered`: in nats a token, the cross-entropies ``clean``, ``spliced``, ``zero`` and ``mean``, and the
    divergences ``kl_spliced``, ``kl_zero`` and ``kl_mean``; and the share of each that the dictionary recovers. Tokens
    that ``drop`` lists stay clean. For several dictionaries, `LanguageScores`: these by name.

    Raises
    ------
    ValueError
        If a dictionary is a crosscoder, the mapping is empty, or the texts fill no context; else as `splice`.
    SourceError
        If a text or a model cannot be read.
    """
    by_name = dictionary if isinstance(dictionary, Mapping) else {None: dictionary}
    if not by_name:
        raise ValueError("dictionary is an empty mapping, expected at least one dictionary")
    coders = {name: coder_of(each) for name, each in by_name.items()}
    where = {name: where_in(each, layer, place) for name, each in by_name.items()}  # before the model is loaded
    device = next(iter(coders.values())).W_enc.device
    reader = Reader(lm, texts, device, tokenizer, context_length, contexts_per_batch, drop, text_options, paths, bos)
    # dictionaries that share the clean and the ablated model, by sites and pair
    groups = defaultdict[tuple[Any, str], dict[Any, Reconstruct]](dict)
    for name, coder in coders.items():
        sites = sites_of(coder, reader.stack, **where[name])
        read_and_write(sites, coder.config.pair)
        groups[tuple(sites.items()), coder.config.pair][name] = reconstruction_by(coder)
    several = list(reader.contexts(contexts))
    if not several:
        raise reader.too_short()
    scores = dict[Any, LossRecovered]()
    for (columns, pair), reconstructions in groups.items():
        sites = dict(columns)
        kinds = reader.kinds(sites)
        mean_R = _mean(reader, sites, several, kinds)
        contexts_bar = tqdm(several, desc="contexts", unit="", disable=None if progress else True)
        scores |= losses_recovered(reader.lm, reconstructions, contexts_bar, sites, pair, kinds, mean_R, paths)
    warn_of_weak_ablation(scores.values())  # once, also for dictionaries of many layers
    return LanguageScores({name: scores[name] for name in by_name}) if isinstance(dictionary, Mapping) else scores[None]


def warn_of_weak_ablation(scores: Iterable[LossRecovered]) -> None:
    """Warn if an ablation hardly changes the cross-entropy, so that shares of it divide by a number near zero."""
    cost = min(min(each.zero, each.mean) - each.clean for each in scores)
    if cost < LITTLE:
        warn_at_call(
            f"an ablation costs only {cost:.2g} nats a token, so recovered_zero or recovered_mean means little; "
            "compare kl_recovered_zero and kl_recovered_mean"
        )


def _mean(reader: Reader, sites: Mapping[str, Site], contexts: Sequence[Tokens], kinds: RowKinds) -> Tensor:
    """Return the mean activations (n_r) of the rows that are kept, at the last site: where a dictionary writes."""
    total_R, rows, column = torch.zeros((), dtype=torch.float64), 0, list(sites)[-1]
    points = reader.stack.points(sites)
    with closing(read_contexts(reader.stack.model, points, contexts, reader.text.contexts_per_batch)) as batches:
        for batch in batches:
            rows_BR = batch.values[column][kinds.of(batch.origin, batch.norms) == KEPT]
            total_R = total_R + torch.from_numpy(rows_BR).double().sum(0)
            rows += len(rows_BR)
    return (total_R / max(rows, 1)).float()
