"""Measure the losses of a language model with each of several dictionaries of one source spliced in."""

from pathlib import Path

import torch

from sdlcore.command_line import cli
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.device import Device, choose_device
from sdlcore.identity import provenance
from sdlcore.inside.held_out import held_out_losses
from sdlcore.model.saving import load_model
from sdlcore.storage.files import write_json


def main(
    *,
    dictionaries: list[Path],
    store: Path,
    model: str,
    text: str,
    contexts: int = 64,
    threads: int = 1,
    device: Device = "auto",
    output: Path,
) -> None:
    """
    Args:
        dictionaries: trained model.safetensors of each run
        store: evaluation store that the source wrote
        model: the source's language model
        text: the source's text
        contexts: number of held-out contexts
        output: JSON file to write
    """
    torch.set_num_threads(threads)
    place = choose_device(device)
    coders = {str(path): load_model(path).to(place) for path in dictionaries}
    with ActivationStore(store) as opened:
        losses = held_out_losses(opened, coders, model, text, contexts, place)
        inputs = {str(path): content_digest(path) for path in dictionaries} | {"store": content_digest(store)}
    content = {
        "losses": {path: loss._asdict() for path, loss in losses.items()},
        "provenance": provenance(inputs=inputs),
    }
    write_json(output, content)


if __name__ == "__main__":
    cli(main, log="%(message)s")
