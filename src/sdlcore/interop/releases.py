"""Released dictionaries by the names of SAELens' list, such as gpt2-small-res-jb, with SAELens' own loaders.

SAELens (sae-lens) downloads and converts the files; its import takes ten seconds. Weights are then checked and opened
like a SAELens folder.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.interop.formats import PLAIN
from sdlcore.interop.saelens import read_state
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Json
from sdlcore.storage.parsing import parsing
from sdlcore.suggestions import did_you_mean
from sdlcore.text import listed

_FILES = (*PLAIN, ".pt", ".json", ".h5")
"""Suffixes of files, which are no part of a release's name, as .5-7b is."""
_SCALED = "expected_average_only_in"


class Release(NamedTuple):
    """A released dictionary."""

    coder: SparseCoder
    facts: dict[str, Json]
    """Repository, folder, model and hook."""


def may_be_release(path: str | Path) -> bool:
    """Return whether a path has the form of a release's name and does not exist on this machine."""
    name = str(path)
    return name != "" and "/" not in name and Path(name).suffix not in _FILES and not Path(name).exists()


def load_release(name: str, dictionary: str) -> Release:
    """Load a dictionary of a release on the CPU.

    ``name`` is the release in SAELens' list, and ``dictionary`` an id in it, such as ``blocks.8.hook_resid_pre``.

    Raises
    ------
    SourceError
        If SAELens is not installed or lists no such release or dictionary, the hub cannot be reached, or sdlcore cannot
        express the dictionary; the message names it.
    """
    if find_spec("sae_lens") is None:
        raise SourceError(
            f"{name}: neither a file or folder on this machine nor OWNER/NAME at the hub; to load a release of "
            "SAELens' list by its name, install sae-lens (pip install 'sdlcore[saelens]')"
        )
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.loading import pretrained_saes_directory as directory

    from sdlcore.extraction.hub import hub_errors

    releases = directory.get_pretrained_saes_directory()
    if name not in releases:
        raise SourceError(
            f"{name}: neither a file or folder on this machine, OWNER/NAME at the hub, nor a release that SAELens "
            f"lists{did_you_mean(name, tuple(releases))}"
        )
    dictionaries = releases[name].saes_map
    if dictionary not in dictionaries:
        argument = repr(dictionary) if dictionary else "nothing"
        raise SourceError(
            f"{name}: subfolder must be a dictionary of this release ({listed(list(dictionaries))}), found {argument}"
        )
    repository, folder = directory.get_repo_id_and_folder_name(name, dictionary)
    overrides = directory.get_config_overrides(name, dictionary) | {"device": "cpu", "dtype": "float32"}
    with hub_errors(f"{name} ({repository})"):
        cfg, state, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[loaders.get_conversion_loader_name(name)](
            repo_id=repository,
            folder_name=folder,
            device="cpu",
            force_download=False,
            cfg_overrides=overrides,
        )
    cfg = loaders.handle_config_defaulting(cfg)
    factor = directory.get_norm_scaling_factor(name, dictionary)
    if cfg.get("normalize_activations") == _SCALED and factor is not None:
        state, cfg = _unscaled(state, factor), cfg | {"normalize_activations": "none"}
    where = f"{name}/{dictionary}"
    with parsing(where, "a SAELens dictionary"):
        coder = read_state(Path(where), cfg, state)
    facts = {"release": name, "dictionary": dictionary, "repository": repository, "folder": folder}
    metadata = cfg.get("metadata") or {}
    return Release(coder, facts | {key: metadata.get(key) for key in ("model_name", "hook_name", "neuronpedia_id")})


def _unscaled(state: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Return weights that take and return raw activations, from weights for activations times ``factor``."""
    scaled = {"W_enc": factor, "W_dec": 1 / factor, "b_dec": 1 / factor}
    return {name: tensor * scaled[name] if name in scaled else tensor for name, tensor in state.items()}
