"""The held-out text of a language model's source, and the losses of dictionaries on it."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.models import find_checkpoint, load_any, load_tokenizer
from sdlcore.extraction.text import Text, opened_text
from sdlcore.extraction.tokens import RowKinds, TokenisedText
from sdlcore.inside.score import LossRecovered, Name, losses_recovered, mean_of, reconstruction_by
from sdlcore.memory import keep_freed_memory
from sdlcore.model.coder import SparseCoder


class HeldOut(NamedTuple):
    """The model and the text that an evaluation store was made from."""

    source: LanguageSource
    provenance: Mapping[str, Any]
    """Provenance of the store."""
    folder: Path
    """Folder of the model."""
    tokenizer: Any
    text: Text

    @classmethod
    def of(cls, store: ActivationStore, model: str, text: str) -> "HeldOut":
        """Open the model and the text that an evaluation store was made from.

        Models and texts of the hub are opened at the commits that the store records.
        """
        facts: Any = store.provenance
        source = LanguageSource.from_dict(facts["source"])
        folder = find_checkpoint(model, facts["model"].get("commit"))
        corpus = opened_text(text, source.text_options.changed(revision=facts["text"].get("commit")))
        return cls(source, facts, folder, load_tokenizer(folder), corpus)

    def losses(
        self, store: ActivationStore, coders: Mapping[Name, SparseCoder], contexts: int, device: torch.device
    ) -> dict[Name, LossRecovered]:
        """Return the losses of the model with each dictionary, over the first held-out contexts.

        Raises
        ------
        ValueError
            If a dictionary is a crosscoder.
        """
        source, facts = self.source, self.provenance
        text = TokenisedText(self.text, self.tokenizer, source.context_length, bos=source.bos)
        number = min(contexts, facts["contexts"])
        held_out = list(islice(text.contexts(facts["first_place"]), number))
        kinds = RowKinds(facts["separator"]["id"], facts["largest_norm"], source.drop)
        keep_freed_memory()
        lm = load_any(self.folder, source.dtype).to(device)
        losses = dict[Name, LossRecovered]()
        for pair in dict.fromkeys(coder.config.pair for coder in coders.values()):
            reconstructions = {
                name: reconstruction_by(coder) for name, coder in coders.items() if coder.config.pair == pair
            }
            mean_R = torch.from_numpy(mean_of(store, "target" if pair == "transcoder" else "input"))
            losses |= losses_recovered(lm, reconstructions, held_out, source.sites, pair, kinds, mean_R, source.paths)
        return losses
