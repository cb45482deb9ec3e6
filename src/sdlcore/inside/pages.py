"""Feature pages: contexts, logits and neighbours of single latents, as text, as HTML or for Neuronpedia."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import coder_of
from sdlcore.extraction.config import TextOptions
from sdlcore.extraction.places import SITES, Paths
from sdlcore.inside.contexts import TokenCodes, codes_in_documents, context_at, read_pieces, tokens_of_model
from sdlcore.inside.features import SHOWN, Logits, Pages, features_of, latents_to_show, logits_up_and_down
from sdlcore.inside.hooks import Layer, Place, readout_of, sites_of, where_in
from sdlcore.inside.reader import DROP, Reader
from sdlcore.inside.splice import latent_numbers
from sdlcore.model.activation import refuse_signed
from sdlcore.model.coder import SparseCoder

IN_INTERVAL = 3
"""Number of examples from each part."""
DECIDING = 10_000
"""Tokens of a text that decide which latents to show, if the user names no latents."""


def contexts(
    dictionary: Dictionary | SparseCoder,
    lm: Any,
    texts: str | Path | Iterable[str],
    latents: int | Iterable[int] | None = None,
    *,
    layer: Layer | None = None,
    place: Place | None = None,
    tokenizer: Any = None,
    number: int = 20,
    width: int = 24,
    context_length: int | None = None,
    contexts_per_batch: int = 16,
    bos: bool | None = None,
    tokens: int | None = 200_000,
    drop: tuple[str, ...] = DROP,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    progress: bool = True,
    paths: Paths | Mapping[str, str] | None = None,
) -> Pages:
    """Return feature pages: the contexts in texts where latents are most active, their logits and nearest latents.

    Parameters
    ----------
    dictionary
        The dictionary.
    lm
        A transformers model, or its name, as in `extract`.
    texts
        Texts to read, as for `extract`.
    latents
        Number of a latent, or several numbers. None for 20 latents that are active in the first 10,000 tokens, from
        the most to the least frequent.
    layer, place
        Where the dictionary was fitted, as for `splice`.
    paths
        Where the modules of an unknown architecture are, as for `splice`.
    number
        Number of contexts with the largest activations of each latent, at most one in each document. Up to three
        follow from each lower fifth of the latent's range.
    width
        Number of tokens to show on either side of the most active one.
    tokens
        Tokens to read from the beginning of the text, rounded up to whole contexts; None for all.
    tokenizer
        None loads the model's own.
    context_length
        Tokens that the model reads at once; None for 128, or the model's maximum if it is lower.
    contexts_per_batch
        Contexts in one pass of the model. Fewer take less memory.
    bos
        Whether contexts begin with the bos token; None if the tokenizer begins texts with it.
    drop
        Kinds of tokens to leave out: first_position, separator, outlier.
    text_options
        How to read a file, such as ``{"column": "body"}``.
    progress
        Show a bar.

    Raises
    ------
    ValueError
        If a latent, layer or place does not exist, no latent is active, widths differ, or contexts are longer than the
        model allows. Also if there is no text, or neither the call nor the provenance names a layer.
    SourceError
        If a text or a model cannot be read.
    """
    coder, where = coder_of(dictionary), where_in(dictionary, layer, place)
    several = None if latents is None else latent_numbers(latents, coder.config.n_q)
    refuse_signed(coder.sigma, "the ranking of contexts by a latent")
    device = coder.W_enc.device
    reader = Reader(lm, texts, device, tokenizer, context_length, contexts_per_batch, drop, text_options, paths, bos)
    sites = sites_of(coder, reader.stack, **where)
    most = None if tokens is None else math.ceil(tokens / reader.context_length)
    stream = tqdm(reader.contexts(most), total=most, desc="contexts", unit="", disable=None if progress else True)
    batches: Iterator[TokenCodes]
    with closing(tokens_of_model(coder, reader.stack, sites, stream, reader.kinds(sites), contexts_per_batch)) as read:
        batches = read
        if several is None:
            first = list(islice(read, math.ceil(DECIDING / (contexts_per_batch * reader.context_length))))
            several = latents_to_show([codes for codes, _ in first], SHOWN) if first else []
            if first and not several:
                raise ValueError("no latent is active at the beginning of the text; name the latents to show")
            batches = chain(first, read)
        rows, codes, references = codes_in_documents(batches, several)
    if not rows:
        raise reader.too_short()
    features = features_of(coder, several, codes, references[:, 0], rows, number, IN_INTERVAL, once=False)
    documents = {int(references[row, 0]) for feature in features for row in feature.examples}
    pieces = read_pieces(reader.text.text, documents, reader.text.tokenizer)
    written, logits = list(sites.values())[-1], dict[int, Logits]()
    # the unembedding reads the residual stream only
    if written.part in SITES and written.part != "mlp_input" and reader.lm.get_output_embeddings() is not None:
        readout = readout_of(reader.lm, reader.stack.paths)
        logits = logits_up_and_down(coder, several, readout, reader.text.tokenizer)
    for column, feature in enumerate(features):
        values = codes[:, [column]].toarray()[:, 0]
        show = partial(context_at, values=values, where=references, pieces=pieces, width=width)
        features[column] = feature.map_contexts(show)._replace(logits=logits.get(feature.latent))
    title = f"{reader.name}, {written.describe().removeprefix('the ')}"
    return Pages(title, coder.config.n_q, rows, features, block=written.block)
