"""Export dictionaries to other libraries' formats."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sdlcore.dictionary.arguments import by_name, coder_of
from sdlcore.dictionary.card import config_of
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.place import fitted_place
from sdlcore.interop.export import export as export_coder
from sdlcore.interop.export import export_set as export_coders
from sdlcore.interop.formats import canonical
from sdlcore.model.coder import SparseCoder


def export(dictionary: Dictionary | SparseCoder, to: str, folder: str | Path, **options: Any) -> Path:
    """Export a dictionary to another library's format.

    Example: ``sdl.export(sae, "saelens", "out/", model_name="gpt2", hook_name="blocks.5.hook_resid_post")``.

    Parameters
    ----------
    dictionary
        The dictionary.
    to
        saelens, dictionary_learning, sparsify or circuit_tracer. For circuit_tracer, the dictionary is the set of a
        language model with one layer; `export_set` writes larger sets.
    folder
        Folder for the files. Files of an earlier export to the same format are replaced, other files are kept.
    options
        Options of the format, all optional:

        - saelens: ``model_name``, the language model, and ``hook_name`` and ``hook_name_out``, TransformerLens' names
          of the hooks of inputs and of a transcoder's targets. Without them, SAELens opens the folder, but cannot run
          or evaluate the dictionary in a language model. Hook names are known if the provenance contains the layer.
          ``metadata``: a dictionary of further metadata, such as ``neuronpedia_id``.
        - dictionary_learning: ``lm_name``, ``layer``, ``submodule_name`` and ``ctx_len``, the origin of activations in
          ``config.json``. ``prefixes``: the nested numbers of latents of BatchTopK, the last n_q, for its Matryoshka
          class.
        - sparsify: none.
        - circuit_tracer: ``model_name``, the language model. ``scan``: the name for visualisations of latents, by
          default ``model_name``. ``feature_input_hook`` and ``feature_output_hook``: TransformerLens' names of the
          hooks of inputs and targets, without ``blocks.N.``; mlp.hook_in and mlp.hook_out by default.

    Returns
    -------
    The folder.

    Raises
    ------
    RefusedError
        If the library cannot express the dictionary; the message gives the reason and a remedy.
    ValueError
        For an unknown format, or if the folder contains a dictionary in another format.
    """
    if isinstance(dictionary, Dictionary) and canonical(to) == "saelens":
        config = config_of(dictionary.coder, dictionary.provenance)
        options = {name: config[name] for name in ("hook_name", "hook_name_out") if config[name]} | options
    return export_coder(coder_of(dictionary), to, folder, **options)


def export_set(dictionaries: Iterable[Dictionary | SparseCoder], to: str, folder: str | Path, **options: Any) -> Path:
    """Export dictionaries for all layers of a language model to the format of circuit_tracer; return the folder.

    Parameters and errors as in `export`. Dictionaries fitted on stores of `extract_layers`, whose layers are recorded,
    must be in the order of the layers, from layer 1 on; ValueError otherwise.
    """
    dictionaries = list(by_name(dictionaries).values())
    layers = [_layer_of(dictionary) for dictionary in dictionaries]
    if None not in layers and layers != list(range(1, len(layers) + 1)):
        numbers = ", ".join(map(str, layers))
        raise ValueError(f"dictionaries were fitted at layers {numbers}; a set needs all layers in order, from 1 on")
    return export_coders([coder_of(dictionary) for dictionary in dictionaries], to, folder, **options)


def _layer_of(dictionary: Dictionary | SparseCoder) -> Any:
    """Return the layer at which a dictionary was fitted; None if its provenance contains none."""
    provenance = dictionary.provenance if isinstance(dictionary, Dictionary) else {}
    return (fitted_place(provenance, coder_of(dictionary).config.pair) or {}).get("layer")
