"""Open a dictionary in sdlcore's or another library's format."""

from pathlib import Path
from typing import Any

from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.run_folder import CHECKPOINT
from sdlcore.extraction.places import located
from sdlcore.interop.formats import OURS, format_at, locate
from sdlcore.interop.load import load as load_coder
from sdlcore.interop.releases import Release, load_release, may_be_release
from sdlcore.storage.files import user_path


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
        release = load_release(str(path), subfolder)
        return Dictionary(release.coder, {"imported": release.facts, **_where_of(release)})
    if format in (None, "sdlcore") and not options:  # load_coder raises the error for options
        local_path = locate(path, subfolder, revision)
        if format == "sdlcore" or format_at(local_path) == "sdlcore":
            return Dictionary.load(local_path)
    coder = load_coder(path, format, subfolder=subfolder, revision=revision, **options)
    return Dictionary(coder, {"imported": {"path": str(path), "format": format}})


def _where_of(release: Release) -> dict[str, Any]:
    """Return the provenance of a released dictionary's place, if sdlcore reads that place."""
    try:
        layer, place = located(release.facts["hook_name"], None)
    except ValueError:
        return {}
    return {"activations": {"where": {"layer": layer, "place": place}}} if layer else {}
