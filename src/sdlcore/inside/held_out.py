"""The held-out text of a language model's source, and the losses of dictionaries on it."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdlcore.data.reading import ActivationStore
from sdlcore.inside.contexts import Context, in_text, top_activating
from sdlcore.inside.firing import firings, latents_to_show, rows_of_store
from sdlcore.inside.loss import LossRecovered, Name, losses_recovered, mean_of, reconstruction_by
from sdlcore.memory import keep_freed_memory
from sdlcore.model.coder import SparseCoder
from sdlcore.sources.language.checkpoints import Checkpoint, load_tokenizer, load_whole, open_checkpoint
from sdlcore.sources.language.corpus import Text, open_text
from sdlcore.sources.language.forward import RowKinds
from sdlcore.sources.language.made import Made, Part
from sdlcore.sources.language.tokens import TokenisedText


class HeldOut(NamedTuple):
    """The model and the text that an evaluation store was made from."""

    made: Made
    part: Part
    checkpoint: Checkpoint
    tokenizer: Any
    text: Text

    @classmethod
    def of(cls, path: Path, store: ActivationStore, model: str, text: str) -> "HeldOut":
        """Open the model and the text from which an evaluation store was made.

        ``path`` is the store's file. Models and texts of the hub are opened at the commits that the store records.
        """
        made = Made.read(path, store.provenance)
        checkpoint = open_checkpoint(model, made.model_commit, made.source.paths)
        corpus = open_text(text, made.source.text_options._replace(revision=made.text_commit))
        part = Part.read(path, store.provenance)
        return cls(made, part, checkpoint, load_tokenizer(checkpoint.folder), corpus)

    def contexts(self, store: ActivationStore, coder: SparseCoder, number: int) -> dict[int, list[Context]]:
        """Return the contexts in which each of ``number`` latents is most active, among the rows of the store."""
        latents = latents_to_show(coder, store, number)
        found = firings(coder, rows_of_store(store, coder.config.pair), latents)
        tops = {latent: top_activating(found, latent) for latent in latents}
        return in_text(tops, found, self.text, self.tokenizer)

    def losses(
        self, store: ActivationStore, coders: Mapping[Name, SparseCoder], contexts: int, device: torch.device
    ) -> dict[Name, LossRecovered]:
        """Return the losses of the model with each dictionary, over the first held-out contexts.

        Raises
        ------
        ValueError
            If a dictionary is a crosscoder.
        """
        source = self.made.source
        text = TokenisedText(self.text, self.tokenizer, source.bos)
        number = min(contexts, self.part.contexts)
        held_out = list(islice(text.contexts(source.context_length, self.part.first_place), number))
        kinds = RowKinds(self.made.separator, self.made.largest_norm, source.drop)
        keep_freed_memory()
        lm = load_whole(self.checkpoint.folder, source.dtype).to(device)
        found = dict[Name, LossRecovered]()
        for pair in dict.fromkeys(coder.config.pair for coder in coders.values()):
            its = {name: reconstruction_by(coder) for name, coder in coders.items() if coder.config.pair == pair}
            mean_R = torch.from_numpy(mean_of(store, "target" if pair == "transcoder" else "input"))
            found |= losses_recovered(lm, its, held_out, source.sites, pair, kinds, mean_R, source.paths)
        return found
