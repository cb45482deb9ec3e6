"""The losses of dictionaries on the held-out text of a language model's source."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch

from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.models import find_checkpoint, load_any, load_tokenizer
from sdlcore.extraction.text import opened_text
from sdlcore.extraction.tokens import RowKinds, TokenisedText
from sdlcore.inside.score import DictionaryName, LossRecovered, losses_recovered, mean_of, reconstruction_by
from sdlcore.memory import keep_freed_memory
from sdlcore.model.coder import SparseCoder


def held_out_losses(
    store: ActivationStore,
    coders: Mapping[DictionaryName, SparseCoder],
    model: str,
    text: str,
    contexts: int,
    device: torch.device,
) -> dict[DictionaryName, LossRecovered]:
    """Return the losses of a model with each dictionary, over the first contexts that an evaluation store was made of.

    Models and texts of the hub are opened at the commits that the store records. ValueError for a crosscoder.
    """
    facts: Any = store.provenance
    source = LanguageSource.from_dict(facts["source"])
    folder = find_checkpoint(model, facts["model"].get("commit"))
    corpus = opened_text(text, source.text_options.changed(revision=facts["text"].get("commit")))
    tokens = TokenisedText(corpus, load_tokenizer(folder), source.context_length, bos=source.bos)
    number = min(contexts, facts["contexts"])
    held_out = list(islice(tokens.contexts(facts["first_place"]), number))
    kinds = RowKinds(facts["separator"]["id"], facts["largest_norm"], source.drop)
    keep_freed_memory()
    lm = load_any(folder, source.dtype).to(device)
    losses = dict[DictionaryName, LossRecovered]()
    for pair in dict.fromkeys(coder.config.pair for coder in coders.values()):
        rebuild = {name: reconstruction_by(coder) for name, coder in coders.items() if coder.config.pair == pair}
        mean_R = torch.from_numpy(mean_of(store, "target" if pair == "transcoder" else "input"))
        losses |= losses_recovered(lm, rebuild, held_out, source.sites, pair, kinds, mean_R, source.paths)
    return losses
