"""Load a language model and a text, pack contexts, and choose the rows to leave out."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from sdlcore.extraction.config import Drop, LanguageSource, Site, TextOptions, fitting_length
from sdlcore.extraction.engine import median_norms
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.models import loaded
from sdlcore.extraction.places import Paths
from sdlcore.extraction.text import opened_text
from sdlcore.extraction.tokens import RowKinds, TokenisedText, Tokens
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import BatchSize, checked, default_of

DROP: tuple[str, ...] = default_of(LanguageSource, "drop")
OUTLIER_NORM = default_of(LanguageSource, "outlier_norm")
"""Outliers are tokens with a norm above this multiple of the median."""


class Reader:
    """A language model ``lm`` and a text for it to read. Documents are packed as in the extraction of activations.

    ``device`` is the device of a model that is given by name; `contexts` describes the other parameters.

    Raises
    ------
    ValueError
        If contexts are longer than the model allows, texts are not strings, or another argument is wrong.
    SourceError
        If a text or a model cannot be read.
    """

    def __init__(
        self,
        lm: Any,
        texts: str | Path | Iterable[str],
        device: torch.device,
        tokenizer: Any = None,
        context_length: int | None = None,
        contexts_per_batch: int = 16,
        drop: tuple[str, ...] = DROP,
        text_options: TextOptions | Mapping[str, Any] | None = None,
        paths: Paths | Mapping[str, str] | None = None,
        bos: bool | None = None,
    ) -> None:
        at_once = checked("contexts_per_batch", BatchSize, contexts_per_batch)
        self.drop = checked("drop", Drop, drop)
        keep_freed_memory()
        self.lm, tokenizer = loaded(lm, tokenizer, device)
        self.context_length = fitting_length(context_length, self.lm.config)
        self.stack = Stack.of(self.lm, paths)  # before the text, since this may refuse the model
        text = opened_text(texts, text_options)
        self.text = TokenisedText(text, tokenizer, self.context_length, at_once, bos)

    @property
    def name(self) -> str:
        """The model's name."""
        return Path(self.stack.name).name

    def contexts(self, number: int | None) -> Iterator[Tokens]:
        """Yield the first contexts of the text; None for all."""
        return islice(self.text.contexts(), number)

    def kinds(self, sites: Mapping[str, Site]) -> RowKinds:
        """Return the kinds of rows to leave out. Outliers are found by median norms over the text's first contexts."""
        medians: dict[str, float] = {}
        if "outlier" in self.drop:
            medians = median_norms(self.stack.model, self.text, self.stack.points(sites)) or {}
        largest = {name: OUTLIER_NORM * median for name, median in medians.items()}
        return RowKinds(self.text.separator, largest, self.drop)

    def too_short(self) -> ValueError:
        """Return the error for a text that fills no context."""
        return ValueError(
            f"{self.text.name}: too short for one context of {self.context_length} tokens; lower context_length, or "
            "give the tokenizer of this language model, if this one lacks the text's words"
        )
