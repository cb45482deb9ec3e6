"""Exchange dictionaries with other libraries."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from sdlcore.api.exporting import export as export_dictionary
from sdlcore.api.loading import load
from sdlcore.api.run_folder import new_run_folder
from sdlcore.commands.arguments import InputPath, opened, with_values
from sdlcore.interop.tensors import Orientation

Format = Literal["saelens", "dictionary_learning", "sparsify", "circuit_tracer"]
Readable = Literal["sdlcore", "saelens", "dictionary_learning", "sparsify", "tensors"]


def export(
    dictionary: InputPath,
    to: Format,
    out: Path,
    model_name: str | None = None,
    hook_name: str | None = None,
    hook_name_out: str | None = None,
    lm_name: str | None = None,
    layer: int | None = None,
    submodule_name: str | None = None,
) -> None:
    """Write a dictionary in another library's format. An error names anything that the library cannot express.

    Args:
        dictionary: a run's folder, a .safetensors file, or a folder of SAELens, dictionary_learning or sparsify
        to: the library
        out: folder to write
        model_name: language model that the activations come from (saelens, circuit_tracer)
        hook_name: where they come from, by TransformerLens' name (saelens, which opens the folder without, but needs
            both names to put the dictionary into its model)
        hook_name_out: where a transcoder writes (saelens)
        lm_name: language model (dictionary_learning)
        layer: layer of it, counted from 0 as that library counts (dictionary_learning); other commands count from 1
        submodule_name: where in the layer (dictionary_learning)
    """
    options = with_values(
        model_name=model_name,
        hook_name=hook_name,
        hook_name_out=hook_name_out,
        lm_name=lm_name,
        layer=layer,
        submodule_name=submodule_name,
    )
    print(export_dictionary(opened(dictionary), to, out, **options))


def import_(
    dictionary: Annotated[str, tyro.conf.Positional],
    out: Path,
    format: Readable | None = None,
    subfolder: str = "",
    revision: str | None = None,
    activation: str | None = None,
    k: int | None = None,
    threshold: float | None = None,
    pair: Literal["sae", "transcoder"] | None = None,
    layout: Orientation | None = None,
    apply_b_dec_to_input: bool = False,
) -> None:
    """Open a dictionary of another library, or plain tensors, and write it as ours.

    Args:
        dictionary: a folder or a file, or OWNER/NAME at the model hub
        out: folder to write, without another run
        format: the library; recognised by the names of files if left out
        subfolder: folder in it that holds the dictionary
        revision: the hub's branch, tag or commit
        activation: of plain tensors, which do not say it: relu, jumprelu, topk, batchtopk or abstopk
        k: of plain tensors: active latents of a sample
        threshold: of plain tensors: one for all latents, where the file holds none
        pair: of plain tensors; sae if left out where inputs and targets have one width and there is no W_skip
        layout: of plain tensors: whether rows or columns are latents, where shapes do not tell
        apply_b_dec_to_input: of plain tensors: b_dec is subtracted from inputs
    """
    folder = new_run_folder(out)
    options = with_values(activation=activation, k=k, threshold=threshold, pair=pair, layout=layout)
    options |= {"apply_b_dec_to_input": True} if apply_b_dec_to_input else {}
    imported_dictionary = load(dictionary, format, subfolder=subfolder, revision=revision, **options)
    imported_dictionary.save(folder)
    print(f"{imported_dictionary}: {out}")
