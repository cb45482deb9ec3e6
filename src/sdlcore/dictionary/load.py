"""Open dictionaries in sdlcore's or another library's format, make them in a run's folder, and export them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sdlcore.dictionary.card import CHANGES, config_of, fitted_place
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.run_folder import CHECKPOINT, finished_run, is_finished, unfinished_run
from sdlcore.extraction.places import located
from sdlcore.interop.export import export as export_coder
from sdlcore.interop.formats import OURS, canonical, format_at, locate
from sdlcore.interop.load import load as load_coder
from sdlcore.interop.releases import load_release, may_be_release
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.processes import current_processes
from sdlcore.storage.files import user_path, write_text
from sdlcore.training.history import Sink
from sdlcore.training.loop import Checkpointing
from sdlcore.user_warnings import warn_at_call

ONLY = "dictionary"
"""Name of the only dictionary, where a function also takes several by name."""


def load(
    path: str | Path, format: str | None = None, *, subfolder: str = "", revision: str | None = None, **options: Any
) -> Dictionary:
    """Load a dictionary in sdlcore's or another library's format.

    Parameters
    ----------
    path
        A file, a folder, OWNER/NAME at the Hugging Face hub, or the name of a release in SAELens' list, such as
        ``gpt2-small-res-jb``. The latter needs sae-lens, whose loaders download and convert the files.
    format
        sdlcore, saelens, dictionary_learning, sparsify or tensors; None to detect it by file names.
    subfolder, revision
        Folder of the dictionary inside ``path``, and the hub's branch, tag or commit. Of a release, the id of the
        dictionary, such as ``blocks.8.hook_resid_pre``; releases have no revisions.
    **options
        Options for plain tensors (W_enc, W_dec, b_enc, b_dec), which do not describe how they are used:
        ``activation``, ``k``, ``threshold``, ``pair``, ``layout`` and ``apply_b_dec_to_input``
        (`sdlcore.interop.tensors.read`).

    Returns
    -------
    The dictionary. ``provenance`` contains the path and format of another library's dictionary.

    Raises
    ------
    ValueError
        If the file is damaged, has no known format or several, or cannot be expressed here; the message names it.
    """
    path = user_path(path)
    if (path / CHECKPOINT).is_file() and not (path / OURS).exists():
        raise ValueError(f"{path} contains an unfinished training. Repeat the call that started it to resume it.")
    if format is None and not options and may_be_release(path):
        coder, facts = load_release(str(path), subfolder)
        return Dictionary(coder, {"imported": facts, **_where_of(facts["hook_name"])})
    if format in (None, "sdlcore") and not options:  # load_coder raises the error for options
        local_path = locate(path, subfolder, revision)
        if format == "sdlcore" or format_at(local_path) == "sdlcore":
            return Dictionary.load(local_path)
    coder = load_coder(path, format, subfolder=subfolder, revision=revision, **options)
    return Dictionary(coder, {"imported": {"path": str(path), "format": format}})


def open_or_make(
    folder: Path | None,
    facts: dict[str, Any],
    make: Callable[[Checkpointing | None, Sequence[Sink]], Dictionary],
    recorded: bool = True,
) -> Dictionary:
    """Open the finished run in a folder, or make the dictionary, and write it to the folder.

    ``make`` gets the path of its checkpoints, and sinks of its history; an interrupted call leaves both files in the
    folder. ``facts`` is the provenance of the run, and ``recorded`` as for `is_finished`. Without a folder, nothing is
    opened or written.

    Raises
    ------
    ValueError
        If the folder holds a different run, finished or not, or another process trains there.
    OSError
        If the folder cannot be written.
    """
    if folder is None:
        return make(None, [])
    processes = current_processes()
    leads = processes.rank == 0  # the first process alone writes the folder; the others read its checkpoint
    if processes.counts(int(leads and is_finished(folder, facts, recorded)))[0]:
        return Dictionary.load(folder)
    with unfinished_run(folder) if leads else nullcontext() as rows:
        dictionary = make(Checkpointing(folder / CHECKPOINT, facts), [rows] if rows else [])
        if leads:
            finished_run(folder, facts)  # refuses to overwrite another run that was saved there meanwhile
            dictionary.save(folder)
    return dictionary


def _where_of(hook: Any) -> dict[str, Any]:
    """Return the provenance of a released dictionary's place, if sdlcore reads that place."""
    try:
        layer, place = located(hook, None)
    except ValueError:
        return {}
    return {"activations": {"where": {"layer": layer, "place": place}}} if layer else {}


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
        Results of `search`, `refine` and `reencode` (to jumprelu) bring their model card, README.md.
    options
        Options of the format, all optional:

        - saelens: ``model_name``, the language model, and ``hook_name`` and ``hook_name_out``, TransformerLens' names
          of the hooks of inputs and of a transcoder's targets. Without them, SAELens opens the folder, but cannot run
          or evaluate the dictionary in a language model. Hook names are known if the provenance contains the layer.
          ``metadata``: a dictionary of further metadata, such as ``neuronpedia_id``.
        - dictionary_learning: ``lm_name``, ``layer``, ``submodule_name`` and ``ctx_len``, the origin of activations in
          ``config.json``.
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
    path = export_coder(coder_of(dictionary), to, folder, **options)
    if isinstance(dictionary, Dictionary) and not dictionary.provenance.keys().isdisjoint(CHANGES):
        if (card := path / "README.md").exists():
            warn_at_call(f"{card} is kept, and may describe another dictionary; delete it for a new card")
        else:
            write_text(card, str(dictionary.generate_model_card()))
    return path


def export_set(dictionaries: Iterable[Dictionary | SparseCoder], to: str, folder: str | Path, **options: Any) -> Path:
    """Export dictionaries for all layers of a language model as one set; return the folder.

    Parameters
    ----------
    dictionaries
        A dictionary for each layer, in order. If the provenance records their layers, they must be 1, 2, 3 and so on.
    to
        circuit_tracer, the only format of sets.
    folder, options
        As in `export`.

    Raises
    ------
    ValueError
        For another format or order of layers, or as in `export`.
    RefusedError
        As in `export`.
    """
    coders, layers = [], []
    for dictionary in by_name(dictionaries).values():
        coders.append(coder_of(dictionary))
        provenance = dictionary.provenance if isinstance(dictionary, Dictionary) else {}
        layers.append((fitted_place(provenance, coders[-1].config.pair) or {}).get("layer"))
    if None not in layers and layers != list(range(1, len(layers) + 1)):
        numbers = ", ".join(map(str, layers))
        raise ValueError(f"dictionaries were fitted at layers {numbers}; a set needs all layers in order, from 1 on")
    return export_coder(coders, to, folder, **options)


def coder_of(dictionary: Dictionary | SparseCoder) -> SparseCoder:
    """Return the model of a `Dictionary`, or a `SparseCoder` itself, for raw activations; ValueError for others."""
    if not isinstance(dictionary, Dictionary | SparseCoder):
        raise ValueError(f"dictionary is a {type(dictionary).__name__}, expected the result of sdl.fit or sdl.load")
    if getattr(dictionary, "normalise", False):
        raise ValueError("dictionary is a SparseCoder for normalised activations; give sdl.Dictionary(coder)")
    return dictionary.coder if isinstance(dictionary, Dictionary) else dictionary


def by_name(dictionaries: Any) -> Mapping[Any, Any]:
    """Return several dictionaries, by name or numbered from 0; ValueError for a single one."""
    if isinstance(dictionaries, Dictionary | SparseCoder) or not isinstance(dictionaries, Iterable):
        raise ValueError(f"dictionaries is a {type(dictionaries).__name__}, expected a list or dict of dictionaries")
    return dictionaries if isinstance(dictionaries, Mapping) else dict(enumerate(dictionaries))


def coders_of(dictionaries: Any) -> dict[Any, SparseCoder]:
    """Return the models of several dictionaries, by name or numbered from 0; ValueError if weights are not finite."""
    coders = {name: coder_of(dictionary) for name, dictionary in by_name(dictionaries).items()}
    for name, coder in coders.items():
        if broken := not_finite(coder.state_dict()):
            called = "the dictionary" if name == ONLY else f"dictionary {name}"
            raise ValueError(f"{called}: {broken}; train it again, with a lower lr if training diverged")
    return coders
