"""Feature pages: contexts, logits and neighbours of single latents, as text, as HTML or for Neuronpedia."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import coder_of
from sdlcore.extraction.architectures import SITES, Paths, read_paths
from sdlcore.extraction.config import Site, TextOptions
from sdlcore.inside.contexts import Peak, contexts_in_text, peaks_at
from sdlcore.inside.features import (
    SHOWN,
    Examples,
    Feature,
    Features,
    Interval,
    examples_of,
    histogram_of,
    logits_up_and_down,
    nearest_latents,
)
from sdlcore.inside.firing import Firings, Rows, choose_latents, firings, rows_of_model
from sdlcore.inside.hooks import Layer, Place, readout_of, sites_of, where_in
from sdlcore.inside.neuronpedia import Upload
from sdlcore.inside.reader import DROP, Reader, reader_of
from sdlcore.inside.splice import latent_numbers, require_latents
from sdlcore.model.coder import SparseCoder
from sdlcore.storage.files import user_path, write_text

IN_INTERVAL = 3
"""Number of examples from each part."""


@dataclass(frozen=True, repr=False)
class Pages(Features):
    """Feature pages of some latents. `to_html` writes HTML pages, `to_neuronpedia` prepares an upload."""

    block: int = 0
    """The block that the dictionary writes to or after, counted from 1."""

    def to_html(self, folder: str | Path) -> Path:
        """Write ``index.html`` and ``latent_N.html`` for each latent to a folder; return the path of ``index.html``.

        The pages are self-contained: styles and pictures are inside. The index can be searched and sorted.
        """
        folder = user_path(folder, "folder")
        for feature in self.features:
            write_text(folder / f"latent_{feature.latent}.html", self.render("latent.html.j2", feature=feature))
        write_text(folder / "index.html", self.render("index.html.j2"))
        return folder / "index.html"

    def to_neuronpedia(
        self, model_id: str, name: str, description: str | None = None, url: str | None = None
    ) -> Upload:
        """Return an upload for Neuronpedia's client, to inspect, save or send.

        Parameters
        ----------
        model_id
            The model's id at Neuronpedia.
        name
            Name of the source set to create: letters, digits, hyphens and dots.
        description, url
            Description and link of the source set; without a description, the title of these pages.
        """
        return Upload.of(self, self.block, model_id, name, description, url)


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
        Contexts in one pass of the model.
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
        If a latent, layer or place does not exist, no latent is active, widths differ, contexts are longer than the
        model allows, there is no text, or no layer is given and the provenance has none.
    SourceError
        If a text or a model cannot be read.
    """
    coder, where = coder_of(dictionary), where_in(dictionary, layer, place)
    several: Sequence[int] | None = None if latents is None else latent_numbers(latents)
    require_latents(several or (), coder.config.n_q)
    device, paths = coder.W_enc.device, read_paths(paths)
    reader = reader_of(lm, texts, device, tokenizer, context_length, contexts_per_batch, drop, text_options, paths, bos)
    sites = sites_of(coder, reader.stack, **where)
    most = reader.number(tokens)
    stream = tqdm(reader.contexts(most), total=most, desc="contexts", unit="", disable=None if progress else True)
    kinds = reader.kinds(sites)
    with closing(rows_of_model(reader.stack, sites, coder.config.pair, stream, kinds, contexts_per_batch)) as rows:
        every: Iterable[Rows] = rows
        if several is None:
            several, every = choose_latents(coder, rows, SHOWN)
            if not several and any(len(batch.x_p) for batch in every):  # without rows, the text is too short, as below
                raise ValueError("no latent is active at the beginning of the text; name the latents to show")
        latent_firings = firings(coder, every, several)
    if not latent_firings.tokens:
        raise reader.too_short()
    return _pages(coder, latent_firings, several, reader, list(sites.values())[-1], number, width)


def _pages(
    coder: SparseCoder,
    firings: Firings,
    latents: Sequence[int],
    reader: Reader,
    written: Site,
    number: int,
    width: int,
) -> Pages:
    latents, examples = [int(latent) for latent in dict.fromkeys(latents)], dict[int, Examples]()
    peaks: dict[tuple[int, int], list[Peak]] = {}
    for latent in latents:
        fired = firings.of(latent)  # one by one, since all take several times as much memory
        examples[latent] = examples_of(fired.value, fired.document, number, IN_INTERVAL, once=False)
        groups = [examples[latent].top, *(entries for *_, entries in examples[latent].intervals)]
        peaks |= {(latent, place): peaks_at(fired, latent, entries) for place, entries in enumerate(groups)}
    tokenizer, lm = reader.text.tokenizer, reader.lm
    contexts = contexts_in_text(peaks, firings, reader.text.text, tokenizer, width)
    # the unembedding reads the residual stream only
    in_stream = written.part in SITES and written.part != "mlp_input"
    reads = in_stream and lm.get_output_embeddings() is not None
    logits = logits_up_and_down(coder, latents, readout_of(lm, reader.stack.paths), tokenizer) if reads else {}
    alike, features = nearest_latents(coder, latents), []
    for latent in latents:
        values = firings.of(latent).value
        intervals = [
            Interval(low, high, share, contexts[latent, place])
            for place, (low, high, share, _) in enumerate(examples[latent].intervals, 1)
        ]
        density, top = len(values) / max(firings.tokens, 1), contexts[latent, 0]
        features.append(
            Feature(latent, density, histogram_of(values), top, intervals, logits.get(latent), alike[latent])
        )
    return Pages(f"{reader.name}, {_named(written)}", coder.config.n_q, firings.tokens, features, block=written.block)


def _named(site: Site) -> str:
    if site.module is not None:
        return site.describe().removeprefix("the ")
    where = {
        "residual": "residual stream after block",
        "residual_before": "residual stream before block",
        "residual_middle": "residual stream between attention and MLP of block",
        "attention_output": "output of the attention of block",
        "mlp_input": "input of the MLP of block",
        "mlp_output": "output of the MLP of block",
    }
    return f"{where[site.part]} {site.block} ({site.hook})"
