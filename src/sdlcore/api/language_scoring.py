"""Measure the loss of a language model with a dictionary in it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from sdlcore.api.dictionary import Dictionary, coder_of
from sdlcore.api.inside import Layer, where_in
from sdlcore.inside.hooks import Place, sites_of
from sdlcore.inside.loss import LossRecovered, loss_recovered
from sdlcore.inside.reader import DROP, Reader, reader_of
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Batch, checked
from sdlcore.sources.language.architectures import Paths, read_paths
from sdlcore.sources.language.forward import KEPT, RowKinds, activations
from sdlcore.sources.language.settings import Site, TextOptions
from sdlcore.sources.language.tokens import Tokens


def language_scores(
    dictionary: Dictionary | SparseCoder,
    lm: Any,
    texts: str | Path | Iterable[str],
    *,
    layer: Layer | None = None,
    place: Place | None = None,
    contexts: int = 64,
    tokenizer: Any = None,
    context_length: int | None = None,
    contexts_per_batch: int = 16,
    drop: tuple[str, ...] = DROP,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    paths: Paths | Mapping[str, str] | None = None,
    progress: bool = True,
) -> LossRecovered:
    """Measure the cross-entropy and the KL divergence that a language model keeps with a dictionary in it.

    Parameters
    ----------
    dictionary
        An autoencoder or transcoder.
    lm
        A decoder-only transformers model, a folder with one, or its name at the hub.
    texts
        Documents that training did not see; or a file, a folder or ``dataset:OWNER/NAME``.
    layer, place, paths
        Where the dictionary was fitted, as for `splice`.
    contexts
        Contexts from the beginning of the texts. The mean that mean ablation writes is theirs, too.
    tokenizer, context_length, contexts_per_batch, drop, text_options
        How the model reads the texts, as for `contexts`.
    progress
        Show a bar.

    Returns
    -------
    Cross-entropy ``clean``, ``spliced``, ``zero`` and ``mean``, the divergences ``kl_spliced``, ``kl_zero`` and
    ``kl_mean``, and the shares recovered of both, in nats a token. Tokens that ``drop`` names stay clean in all.

    Raises
    ------
    ValueError
        If the dictionary is a crosscoder, or the texts have no context; else as `splice`.
    SourceError
        If a text or a model cannot be read.
    """
    coder, contexts = coder_of(dictionary), checked("contexts", Batch, contexts)
    where = where_in(dictionary, lm, layer, place)
    own = read_paths(paths)
    device = coder.W_enc.device
    reader = reader_of(lm, texts, device, tokenizer, context_length, contexts_per_batch, drop, text_options, own)
    sites = sites_of(coder, reader.stack, **where)
    several = list(reader.contexts(contexts))
    if not several:
        raise reader.too_short()
    kinds = reader.kinds(sites)
    mean_R = _mean(reader, sites, several, kinds)
    shown = tqdm(several, desc="contexts", unit="", disable=None if progress else True)

    def reconstruct(x_NP: Tensor) -> Tensor:
        return coder(x_NP.to(device)).x_hat.to(x_NP.device)

    return loss_recovered(reader.lm, reconstruct, shown, sites, coder.config.pair, kinds, mean_R, own)


def _mean(reader: Reader, sites: Mapping[str, Site], contexts: Sequence[Tokens], kinds: RowKinds) -> Tensor:
    """Return the mean activations (n_r) of the rows that are kept, at the last site: where a dictionary writes."""
    total_R, rows, column = torch.zeros((), dtype=torch.float64), 0, list(sites)[-1]
    with closing(activations(reader.stack, sites, contexts, reader.contexts_per_batch)) as batches:
        for batch in batches:
            kept = batch.values[column][kinds.of(batch.tokens, batch.norms) == KEPT]
            total_R = total_R + torch.from_numpy(kept).double().sum(0)
            rows += len(kept)
    return (total_R / max(rows, 1)).float()
