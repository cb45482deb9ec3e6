"""Splice a trained dictionary into its language model, and show the contexts in which its latents are most active."""

import logging
from pathlib import Path

import torch

from sdlcore.command_line import cli
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.device import Device, choose_device
from sdlcore.identity import provenance
from sdlcore.inside.contexts import contexts_page
from sdlcore.inside.held_out import HeldOut
from sdlcore.model.saving import load_model
from sdlcore.storage.files import write_json, write_text


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
    with ActivationStore(store) as opened:
        held_out = HeldOut.of(opened, model, text)
        latent_contexts = held_out.contexts(opened, coder, latents)
        losses = None
        if coder.config.pair != "crosscoder":
            losses = held_out.losses(opened, {"run": coder}, contexts, place)["run"]
    logging.info("%s", losses)

    name, method, protocol, anchoring, seed = cell
    run = {"source": name, "method": method, "protocol": protocol, "anchoring": anchoring, "seed": seed}
    content = {
        "run": run,
        "loss": None if losses is None else losses._asdict(),
        "latents": {latent: [context.to_dict() for context in its] for latent, its in latent_contexts.items()},
        "provenance": provenance(inputs={"dictionary": content_digest(dictionary), "store": content_digest(store)}),
    }
    write_text(page, contexts_page(f"{name}, {method}, {anchoring}, seed {seed}: most active tokens", latent_contexts))
    write_json(output, content)


if __name__ == "__main__":
    cli(main, log="%(message)s")
