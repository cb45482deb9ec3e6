"""Released dictionaries by the names of SAELens' list, such as gpt2-small-res-jb, opened by SAELens.

SAELens (sae-lens) downloads and converts the files; its import takes ten seconds.
"""

from importlib.util import find_spec
from pathlib import Path

from sdlcore.errors import SourceError
from sdlcore.interop.formats import PLAIN
from sdlcore.interop.saelens import read_state
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Json
from sdlcore.storage.parsing import parsing
from sdlcore.suggestions import did_you_mean

_FILES = (*PLAIN, ".pt", ".json", ".h5")
"""Suffixes of files, which are no part of a release's name, as .5-7b is."""


def may_be_release(path: str | Path) -> bool:
    """Return whether a path has the form of a release's name and does not exist on this machine."""
    name = str(path)
    return name != "" and "/" not in name and Path(name).suffix not in _FILES and not Path(name).exists()


def load_release(name: str, dictionary: str) -> tuple[SparseCoder, dict[str, Json]]:
    """Load a dictionary of a release on the CPU; return it with its release, id, model and hook.

    ``name`` is the release in SAELens' list, and ``dictionary`` an id in it, such as ``blocks.8.hook_resid_pre``.

    Raises
    ------
    SourceError
        If SAELens is not installed or does not open the dictionary, or sdlcore cannot express it.
    """
    if find_spec("sae_lens") is None:
        raise SourceError(
            f"{name}: neither a file or folder on this machine nor OWNER/NAME at the hub; to load a release of "
            "SAELens' list by its name, install sae-lens (pip install 'sdlcore[saelens]')"
        )
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    from sdlcore.extraction.hub import hub_errors

    releases = get_pretrained_saes_directory()
    if name not in releases:
        raise SourceError(
            f"{name}: neither a file or folder on this machine, OWNER/NAME at the hub, nor a release that SAELens "
            f"lists{did_you_mean(name, tuple(releases))}"
        )
    with hub_errors(name, "give an id of SAELens' list as subfolder"):
        sae = SAE.from_pretrained(name, dictionary, device="cpu")
    cfg, where = sae.cfg.to_dict(), f"{name}/{dictionary}"
    with parsing(where, "a SAELens dictionary"):
        coder = read_state(Path(where), cfg, sae.state_dict())
    facts: dict[str, Json] = {"release": name, "dictionary": dictionary}
    return coder, facts | {key: cfg["metadata"].get(key) for key in ("model_name", "hook_name")}
