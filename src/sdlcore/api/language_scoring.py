"""Measure the loss of a language model with dictionaries in it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, overload

import torch
from torch import Tensor
from tqdm.auto import tqdm

from sdlcore.api.dictionary import Dictionary
from sdlcore.api.dictionary_arguments import coder_of
from sdlcore.api.inside import Layer, where_in
from sdlcore.extraction.architectures import Paths, read_paths
from sdlcore.extraction.config import Site, TextOptions
from sdlcore.extraction.forward import KEPT, RowKinds, activations
from sdlcore.extraction.tokens import Tokens
from sdlcore.extras import extra
from sdlcore.inside.hooks import Place, read_and_write, sites_of
from sdlcore.inside.loss import LossRecovered, losses_recovered, reconstruction_by
from sdlcore.inside.reader import DROP, Reader, ReadingOptions, reader_of
from sdlcore.model.coder import SparseCoder
from sdlcore.text import number, table
from sdlcore.user_warnings import warn_at_call

if TYPE_CHECKING:
    import pandas as pd

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


class LanguageScores(dict[Any, LossRecovered]):
    """The scores of several dictionaries by their names; prints as a small table."""

    def to_frame(self) -> "pd.DataFrame":
        """Return a table, a row a dictionary."""
        with extra("tables"):
            import pandas as pd

        return pd.DataFrame(self.values(), index=[str(name) for name in self], columns=LossRecovered._fields)

    def __repr__(self) -> str:
        values = {str(name): [getattr(scores, column) for column in BRIEF] for name, scores in self.items()}
        rows = [[name, *(number(value) for value in row)] for name, row in values.items()]
        return table([["", *BRIEF], *rows])


class ScoringOptions(ReadingOptions, total=False):
    """The options of `language_scores`."""

    layer: Layer | None
    place: Place | None
    contexts: int
    paths: Paths | Mapping[str, str] | None


@overload
def language_scores(
    dictionary: Dictionary | SparseCoder, lm: Any, texts: str | Path | Iterable[str], **options: Unpack[ScoringOptions]
) -> LossRecovered: ...


@overload
def language_scores(
    dictionary: Mapping[Any, Dictionary | SparseCoder],
    lm: Any,
    texts: str | Path | Iterable[str],
    **options: Unpack[ScoringOptions],
) -> LanguageScores: ...


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
) -> LossRecovered | LanguageScores:
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
    In nats a token, the cross-entropies ``clean``, ``spliced``, ``zero`` and ``mean``, and the divergences
    ``kl_spliced``, ``kl_zero`` and ``kl_mean``; and the share of each that the dictionary recovers. Tokens that
    ``drop`` lists stay clean. For several dictionaries, these scores by name.

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
    where = {name: where_in(each, layer, place) for name, each in by_name.items()}
    paths = read_paths(paths)
    device = next(iter(coders.values())).W_enc.device
    reader = reader_of(lm, texts, device, tokenizer, context_length, contexts_per_batch, drop, text_options, paths, bos)
    groups = defaultdict[_Group, list[Any]](list)
    for name, coder in coders.items():
        group = _Group(tuple(sites_of(coder, reader.stack, **where[name]).items()), coder.config.pair)
        read_and_write(dict(group.sites), group.pair)
        groups[group].append(name)
    several = list(reader.contexts(contexts))
    if not several:
        raise reader.too_short()
    scores = dict[Any, LossRecovered]()
    for group, names in groups.items():
        sites = dict(group.sites)
        kinds = reader.kinds(sites)
        mean_R = _mean(reader, sites, several, kinds)
        contexts_bar = tqdm(several, desc="contexts", unit="", disable=None if progress else True)
        reconstructions = {name: reconstruction_by(coders[name]) for name in names}
        scores |= losses_recovered(reader.lm, reconstructions, contexts_bar, sites, group.pair, kinds, mean_R, paths)
    # once, also for dictionaries of many layers
    warn_of_weak_ablation(min(scores.values(), key=_cost_of_ablation))
    return LanguageScores({name: scores[name] for name in by_name}) if isinstance(dictionary, Mapping) else scores[None]


def warn_of_weak_ablation(scores: LossRecovered) -> None:
    """Warn if an ablation hardly changes the cross-entropy, so that shares of it divide by a number near zero."""
    cost = _cost_of_ablation(scores)
    if cost < LITTLE:
        warn_at_call(
            f"an ablation costs only {cost:.2g} nats a token, so recovered_zero or recovered_mean means little; "
            "compare kl_recovered_zero and kl_recovered_mean"
        )


def _cost_of_ablation(scores: LossRecovered) -> float:
    """Return the cross-entropy that the weaker ablation adds, in nats a token."""
    return min(scores.zero, scores.mean) - scores.clean


class _Group(NamedTuple):
    """Dictionaries that share the clean and the ablated model."""

    sites: tuple[tuple[str, Site], ...]
    pair: str


def _mean(reader: Reader, sites: Mapping[str, Site], contexts: Sequence[Tokens], kinds: RowKinds) -> Tensor:
    """Return the mean activations (n_r) of the rows that are kept, at the last site: where a dictionary writes."""
    total_R, rows, column = torch.zeros((), dtype=torch.float64), 0, list(sites)[-1]
    with closing(activations(reader.stack, sites, contexts, reader.contexts_per_batch)) as batches:
        for batch in batches:
            rows_BR = batch.values[column][kinds.of(batch.tokens, batch.norms) == KEPT]
            total_R = total_R + torch.from_numpy(rows_BR).double().sum(0)
            rows += len(rows_BR)
    return (total_R / max(rows, 1)).float()
