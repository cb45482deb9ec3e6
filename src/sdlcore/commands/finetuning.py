"""Continue the training of a dictionary inside its language model."""

from pathlib import Path

from sdlcore.api.finetuning import finetune as finetune_dictionary
from sdlcore.commands.arguments import InputPath, with_values
from sdlcore.device import Device
from sdlcore.inside.behaviour import Objective
from sdlcore.inside.hooks import Place


def finetune(
    start: InputPath,
    model: str,
    text: str,
    out: Path,
    steps: int | None = None,
    objective: Objective = "kl",
    share: float = 0.5,
    lr: float | None = None,
    layer: int | None = None,
    place: Place | None = None,
    context_length: int | None = None,
    contexts_per_batch: int = 8,
    device: Device = "auto",
) -> None:
    """Continue the training of a dictionary inside its language model, so that predictions change less.

    The divergence between the predictions with and without the dictionary takes a share of the loss. Writes a run's
    folder, as `sdlcore fit` does. The same command resumes a training that was cut off, and opens a finished one.

    Args:
        start: a run's folder. With the state that `sdlcore fit --keep-state` leaves there, optimiser and schedule are
            continued; a dictionary without it continues by its weights
        model: a folder with a transformers model, or its name at the hub
        text: a text file, JSON lines, Parquet, a folder of these, or dataset:OWNER/NAME
        out: folder to write
        steps: further steps; if left out, the steps that a stopped training has left
        objective: kl, the divergence of the predictions, or cross_entropy, the loss of the model with the dictionary
        share: share of the objective in the loss; 0 continues on the reconstruction error alone
        lr: peak learning rate; the start's, if left out
        layer: block that the dictionary was fitted on, counted from 1; needed if the dictionary does not record it
        place: a site, as in `sdlcore contexts`
        context_length: tokens that the model is shown at once; 128, or as many as it takes, if left out
        contexts_per_batch: contexts of a step
        device: where the model runs and the dictionary is trained
    """
    found = finetune_dictionary(
        start,
        model,
        text,
        steps=steps,
        objective=objective,
        share=share,
        layer=layer,
        place=place,
        context_length=context_length,
        contexts_per_batch=contexts_per_batch,
        device=device,
        out=out,
        **with_values(lr=lr),
    )
    print(f"{found}: {out}")
