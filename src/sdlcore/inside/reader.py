"""Load a language model and a text, pack contexts, and choose the rows to leave out."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch

from sdlcore.extraction.architectures import Paths
from sdlcore.extraction.config import Drop, LanguageSource, Site, TextOptions, fitting_length
from sdlcore.extraction.corpus import opened_text
from sdlcore.extraction.forward import KEPT, MEDIAN_ROWS, RowKinds, median_norms, read_contexts
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.models import loaded, model_facts, precision_of
from sdlcore.extraction.tokens import TokenisedText, Tokens
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import Batch, Json, checked, default_of

DROP: tuple[str, ...] = default_of(LanguageSource, "drop")
OUTLIER_NORM = default_of(LanguageSource, "outlier_norm")
"""Outliers are tokens with a norm above this multiple of the median."""


class ReadingOptions(TypedDict, total=False):
    """How a language model reads a text, as in `reader_of`."""

    tokenizer: Any
    context_length: int | None
    contexts_per_batch: int
    bos: bool | None
    drop: tuple[str, ...]
    text_options: TextOptions | Mapping[str, Any] | None
    progress: bool


class Reader(NamedTuple):
    """A language model and a text for it to read. Documents are packed as in the extraction of activations."""

    lm: Any
    text: TokenisedText
    context_length: int
    """Tokens that the model reads at once."""
    contexts_per_batch: int
    """Number of contexts in one pass of the model."""
    drop: tuple[str, ...]
    """Kinds of tokens to leave out."""
    stack: Stack

    @property
    def name(self) -> str:
        """The model's name."""
        return Path(self.stack.name).name

    def number(self, tokens: int | None) -> int | None:
        """Return the number of contexts that this many tokens fill; None for the whole text."""
        return None if tokens is None else math.ceil(tokens / self.context_length)

    def contexts(self, number: int | None) -> Iterator[Tokens]:
        """Yield the first contexts of the text; None for all."""
        return islice(self.text.contexts(self.context_length), number)

    def kinds(self, sites: Mapping[str, Site]) -> RowKinds:
        """Return the kinds of rows to leave out. Outliers are found by median norms over the text's first contexts."""
        return self.kinds_of_each({0: sites})[0]

    def kinds_of_each(self, sites: Mapping[int, Mapping[str, Site]]) -> dict[int, RowKinds]:
        """Return the kinds of rows for several groups of sites, from one pass of the model."""
        medians: dict[tuple[int, str], float] = {}
        if "outlier" in self.drop:
            first = self.contexts(math.ceil(MEDIAN_ROWS / self.context_length))
            flat = {(key, name): self.stack.point(site) for key, its in sites.items() for name, site in its.items()}
            batches = read_contexts(self.stack.model, flat, first, self.contexts_per_batch)
            medians = median_norms(batches, self.text.separator, flat) or {}
        return {
            key: RowKinds(
                self.text.separator,
                {name: OUTLIER_NORM * medians[key, name] for name in its if (key, name) in medians},
                self.drop,
            )
            for key, its in sites.items()
        }

    def write_rows(
        self, sites: Mapping[int, Mapping[str, Site]], contexts: Iterable[Tokens], folder: Path
    ) -> dict[int, "Rows"]:
        """Write the activations of the model at several sites to disk, in one pass over a text.

        Tokens that `drop` names, such as the first of a context, are left out.

        Parameters
        ----------
        sites
            For each group of sites, such as a layer, its sites by name (input, target).
        contexts
            Contexts for the model to read.
        folder
            Folder for the files.

        Returns
        -------
        For each group, its activations on disk.
        """
        kinds = self.kinds_of_each(sites)
        flat = {(key, name): self.stack.point(site) for key, its in sites.items() for name, site in its.items()}
        paths = {at: folder / "-".join(map(str, at)) for at in flat}
        widths: dict[tuple[int, str], int] = {}
        with ExitStack() as opened:
            files = {at: opened.enter_context(path.open("wb")) for at, path in paths.items()}
            reading = read_contexts(self.stack.model, flat, contexts, self.contexts_per_batch)
            for batch in opened.enter_context(closing(reading)):
                for key, its in sites.items():
                    mask = kinds[key].of(batch.tokens, {name: batch.norms[key, name] for name in its}) == KEPT
                    for name in its:
                        widths[key, name] = batch.values[key, name].shape[1]
                        batch.values[key, name][mask].tofile(files[key, name])
        return {
            key: Rows([(paths[key, name], widths.get((key, name), 1)) for name in its]) for key, its in sites.items()
        }

    def too_short(self) -> ValueError:
        """Return the error for a text that fills no context."""
        return ValueError(
            f"{self.text.name}: too short for one context of {self.context_length} tokens; lower context_length, or "
            "give the tokenizer of this language model, if this one lacks the text's words"
        )

    def facts(self) -> dict[str, Json]:
        """Return the provenance of activations, except for their place. Reads all weights of the model."""
        return {
            "model": model_facts(self.lm),
            "text": self.text.text.facts,
            "tokenizer": self.text.vocabulary,
            "context_length": self.context_length,
            "opening": self.text.opening,
            "drop": list(self.drop),
            "outlier_norm": OUTLIER_NORM,
            "precision": {"forward": precision_of(self.lm), "stored": "float16"},
        }


class Rows(NamedTuple):
    """Activations on disk, N x D in float16 for each column."""

    files: list[tuple[Path, int]]
    """File and D of each column, in the order of the sites."""

    def read(self) -> list[np.ndarray]:
        """Return the activations of each column."""
        return [np.fromfile(path, dtype=np.float16).reshape(-1, width) for path, width in self.files]

    def remove(self) -> None:
        """Remove the files."""
        for path, _ in self.files:
            path.unlink()


def reader_of(
    lm: Any,
    texts: str | Path | Iterable[str],
    device: torch.device,
    tokenizer: Any = None,
    context_length: int | None = None,
    contexts_per_batch: int = 16,
    drop: tuple[str, ...] = DROP,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    paths: Paths | None = None,
    bos: bool | None = None,
) -> Reader:
    """Load a model and a text.

    Parameters
    ----------
    lm
        A decoder-only transformers model, or its name: a folder, or OWNER/NAME at the hub.
    texts
        Documents; or a file, a folder or ``dataset:OWNER/NAME``, as for `open_text`.
    device
        Device of a model that is given by name.
    tokenizer
        None loads the model's own.
    context_length
        None for 128, or the model's maximum if it is lower.
    contexts_per_batch, drop
        As in `Reader`.
    text_options
        How to read a file.
    paths
        Paths of the modules, for a model of an unknown architecture.
    bos
        Whether contexts begin with the bos token; None if they do where the tokenizer begins texts with it.

    Raises
    ------
    ValueError
        If contexts are longer than the model allows, texts are not strings, or another argument is wrong.
    SourceError
        If a text or a model cannot be read.
    """
    contexts_per_batch = checked("contexts_per_batch", Batch, contexts_per_batch)
    drop, bos = checked("drop", Drop, drop), checked("bos", bool | None, bos)
    keep_freed_memory()
    lm, tokenizer = loaded(lm, tokenizer, device)
    context_length = fitting_length(context_length, getattr(lm.config, "max_position_embeddings", None))
    stack = Stack.of(lm, paths)  # before the text, since this may refuse the model
    text = TokenisedText(opened_text(texts, text_options), tokenizer, bos)
    return Reader(lm, text, context_length, contexts_per_batch, drop, stack)
