"""Continue the training of a dictionary inside its language model."""

from pathlib import Path

from sdlcore.api.finetuning import finetune as finetune_dictionary
from sdlcore.commands.arguments import (
    ContextLength,
    Documents,
    FittedLayer,
    FittedPlace,
    InputPath,
    LanguageModel,
    TextColumn,
    with_values,
)
from sdlcore.device import Device
from sdlcore.inside.behaviour import Objective
from sdlcore.sources.language.settings import TextOptions


def finetune(
    start: InputPath,
    model: LanguageModel,
    text: Documents,
    out: Path,
    steps: int | None = None,
    objective: Objective = "kl",
    share: float = 0.5,
    lr: float | None = None,
    layer: FittedLayer = None,
    place: FittedPlace = None,
    context_length: ContextLength = None,
    text_column: TextColumn = "text",
    contexts_per_batch: int = 8,
    device: Device = "auto",
) -> None:
    """Continue the training of a dictionary inside its language model, so that predictions change less.

    The divergence between the predictions with and without the dictionary takes a share of the loss. Writes a run's
    folder, as `sdlcore fit` does. The same command resumes a training that was cut off, and opens a finished one.

    Args:
        start: a run's folder. With the state that `sdlcore fit --keep-state` leaves there, optimiser and schedule are
            continued; a dictionary without it continues by its weights
        out: folder to write
        steps: further steps; if left out, the steps that a stopped training has left
        objective: kl, the divergence of the predictions, or cross_entropy, the loss of the model with the dictionary
        share: share of the objective in the loss; 0 continues on the reconstruction error alone
        lr: peak learning rate; the start's, if left out
        contexts_per_batch: contexts of a step
        device: where the model runs and the dictionary is trained
    """
    dictionary = finetune_dictionary(
        start,
        model,
        text,
        steps=steps,
        objective=objective,
        share=share,
        layer=layer,
        place=place,
        context_length=context_length,
        text_options=TextOptions(column=text_column),
        contexts_per_batch=contexts_per_batch,
        device=device,
        out=out,
        **with_values(lr=lr),
    )
    print(f"{dictionary}: {out}")
