"""Splice a trained dictionary into its language model, and show the contexts in which its latents are most active."""

import logging
from itertools import islice
from pathlib import Path

import torch

from sdlcore.command_line import cli
from sdlcore.data.reading import content_digest, open_checked
from sdlcore.device import Device, choose_device
from sdlcore.inside.contexts import in_text, top_activating
from sdlcore.inside.contexts import page as markdown_page
from sdlcore.inside.firing import firings, latents_to_show, rows_of_store
from sdlcore.inside.loss import loss_recovered, mean_of
from sdlcore.model.saving import load_model
from sdlcore.sources.language.checkpoints import load_tokenizer, load_whole, open_checkpoint
from sdlcore.sources.language.corpus import open_text
from sdlcore.sources.language.forward import RowKinds
from sdlcore.sources.language.made import Made, Part
from sdlcore.sources.language.tokens import contexts_of
from sdlcore.storage.files import provenance, sha256_of, write_json, write_text


def main(
    *,
    cell: tuple[str, str, str, str, int],
    dictionary: Path,
    store: Path,
    model: str,
    text: str,
    contexts: int = 64,
    latents: int = 12,
    threads: int = 1,
    device: Device = "auto",
    output: Path,
    page: Path,
) -> None:
    """
    Args:
        cell: source, method, protocol, anchoring and seed of the run
        dictionary: trained model.safetensors
        store: evaluation store that the source wrote
        model: the source's language model
        text: the source's text
        contexts: number of held-out contexts for measuring losses
        latents: number of latents to show
        output: JSON file to write
        page: Markdown file to write
    """
    torch.set_num_threads(threads)
    place = choose_device(device)
    coder = load_model(dictionary).to(place)
    with open_checked(store) as opened:
        made, part = Made.read(store, opened.provenance), Part.read(store, opened.provenance)
        source = made.source
        checkpoint = open_checkpoint(model, made.model_commit, source.paths)
        tokenizer = load_tokenizer(checkpoint.folder)
        corpus = open_text(text, source.text_options._replace(revision=made.text_commit))
        chosen = latents_to_show(coder, opened, latents)
        found = firings(coder, rows_of_store(opened, coder.config.pair), chosen)
        mean = mean_of(opened, "target" if coder.config.pair == "transcoder" else "input")

    shown = in_text({latent: top_activating(found, latent) for latent in chosen}, found, corpus, tokenizer)
    losses = None
    if coder.config.pair != "crosscoder":
        held_out = contexts_of(corpus.documents(part.first_place), tokenizer, source.context_length)
        losses = loss_recovered(
            load_whole(checkpoint.folder, source.dtype).to(place),
            lambda x: coder(x).x_hat,
            islice(held_out, min(contexts, part.contexts)),
            source.sites,
            coder.config.pair,
            RowKinds(made.separator, made.largest_norm, source.drop),
            torch.from_numpy(mean),
            source.paths,
        )
        logging.info("%s", losses)

    name, method, protocol, anchoring, seed = cell
    run = {"source": name, "method": method, "protocol": protocol, "anchoring": anchoring, "seed": seed}
    content = {
        "run": run,
        "loss": None if losses is None else losses._asdict(),
        "latents": {latent: [context.to_dict() for context in its] for latent, its in shown.items()},
        "provenance": provenance(
            __file__, inputs={"dictionary": sha256_of(dictionary), "store": content_digest(store)}
        ),
    }
    write_text(page, markdown_page(f"{name}, {method}, {anchoring}, seed {seed}: most active tokens", shown))
    write_json(output, content)


if __name__ == "__main__":
    cli(main, log="%(message)s")
