"""Find and load checkpoints of language models, whole or only their first blocks.

Only safetensors are read. Code in a checkpoint is never run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import Paths, cuts, paths_of
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.hub import model_config, model_snapshot
from sdlcore.extraction.hub_names import is_hub_model
from sdlcore.extras import extra
from sdlcore.settings import Json
from sdlcore.storage.external_json import Settings, read_object
from sdlcore.storage.files import sha256_of
from sdlcore.storage.parsing import NO_CODE, nothing_to_read, parsing
from sdlcore.text import short_text

with extra("language"):
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging


class Checkpoint(NamedTuple):
    """A model on this machine."""

    name: str
    """Name of the model in the configuration."""
    folder: Path
    """Folder with config.json, safetensors and tokenizer."""
    commit: str | None
    """Commit of a model at the hub; None for other models."""

    def facts(self) -> dict[str, Json]:
        """Return the provenance of the model: its commit at the hub, or checksums of its weights."""
        if self.commit is not None:
            return {"name": self.name, "commit": self.commit}
        return {"files": {path.name: sha256_of(path) for path in sorted(self.folder.glob("*.safetensors"))}}


def open_checkpoint(reference: str | Path, revision: str | None = None, paths: Paths | None = None) -> Checkpoint:
    """Find the model that ``reference`` names: a folder, or OWNER/NAME at the hub, which is downloaded if needed.

    Parameters
    ----------
    reference
        Name of the model. An existing folder takes precedence over the hub.
    revision
        Commit, tag or branch at the hub; None for the newest.
    paths
        Paths of the modules, for a model of an unknown architecture.

    Raises
    ------
    SourceError
        If the model does not exist, needs an access request, the hub cannot be reached, or the architecture is unknown
        and no paths are given.
    """
    name, folder = str(reference), Path(reference)
    if folder.suffix == ".gguf" and folder.is_file():  # its converted folder has the same name
        raise SourceError(f"{name}: a GGUF file; convert it to a folder first (workflow/scripts/language_model.py)")
    if is_hub_model(name):
        paths_of(model_config(name, revision), paths, name)  # before the weights are downloaded
        folder = model_snapshot(name, revision)
        return Checkpoint(name, folder, folder.name)
    _require_checkpoint(folder)
    with parsing(folder / "config.json", "a model's configuration in JSON", "fetch the checkpoint again"):
        config = read_object(folder / "config.json")
    paths_of(config, paths, name)
    return Checkpoint(name, folder, None)


def load_stack(
    folder: str | Path, layer: int | None = None, dtype: str = "float32", paths: Paths | None = None
) -> Stack:
    """Load a checkpoint's model without its unembedding.

    Parameters
    ----------
    folder
        Folder of the checkpoint.
    layer
        Number of blocks to load, if the architecture allows loading a part; None for all.
    dtype
        Precision.
    paths
        Paths of the modules, for a model of an unknown architecture.

    Raises
    ------
    SourceError
        If ``folder`` contains no checkpoint in safetensors, has fewer blocks, or lacks weights, or the architecture is
        unknown and no paths are given.
    """
    config = _configuration(folder)
    settings = config.to_dict()
    paths_of(settings, paths, str(folder))
    inner = config.get_text_config()
    blocks = inner.num_hidden_layers
    if layer is not None and layer > blocks:
        raise SourceError(f"{folder}: layer is {layer}, but the model has {blocks} blocks; take at most {blocks}")
    if layer is not None and cuts(settings, paths):
        inner.num_hidden_layers = layer
        if getattr(inner, "layer_types", None):
            inner.layer_types = inner.layer_types[:layer]
    return Stack.of(_load(AutoModel, folder, config, dtype), paths)


def load_whole(folder: str | Path, dtype: str = "float32") -> Any:
    """Load a checkpoint's whole causal language model. Raises as `load_stack` does."""
    return _load(AutoModelForCausalLM, folder, _configuration(folder), dtype)


def load_any(name: str | Path) -> Any:
    """Load a whole causal language model of any architecture in transformers, in the precision of its checkpoint.

    Parameters
    ----------
    name
        A folder with a checkpoint in safetensors, or OWNER/NAME at the hub.

    Raises
    ------
    SourceError
        If the model does not exist, needs code from its checkpoint, or lacks weights.
    """
    here = Path(name).exists()
    if not here and not is_hub_model(str(name)):
        raise _missing(name)
    if not here:
        model_config(str(name), None)  # transformers would try for 23 seconds to reach the hub
    return _pretrained(AutoModelForCausalLM, name, dtype="auto")


def load_tokenizer(folder: str | Path, local: bool = True) -> Any:
    """Load the tokenizer of a checkpoint.

    Parameters
    ----------
    folder
        Folder of the checkpoint, or name of a model at the hub.
    local
        Whether to read a tokenizer of the hub only from the local cache.

    Raises
    ------
    SourceError
        If the tokenizer is not readable, or needs code from its checkpoint.
    """
    with parsing(folder, "a checkpoint's tokenizer", NO_CODE), undisturbed():
        return AutoTokenizer.from_pretrained(folder, local_files_only=local, trust_remote_code=False)


def _configuration(folder: str | Path) -> Any:
    _require_checkpoint(folder)
    path = Path(folder) / "config.json"
    with parsing(path, "a model's configuration", NO_CODE), undisturbed():
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _load(kind: Any, folder: str | Path, config: Any, dtype: str) -> Any:
    return _pretrained(kind, folder, config=config, dtype=getattr(torch, dtype), local_files_only=True)


def _pretrained(kind: Any, folder: str | Path, **settings: Any) -> Any:
    with parsing(folder, "a checkpoint in safetensors", NO_CODE), undisturbed():
        _check_names_of_weights(Path(folder))
        model, loading = kind.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **settings
        )
    if loading["missing_keys"]:  # transformers would continue with random weights
        raise SourceError(f"{folder}: the checkpoint lacks the weights {sorted(loading['missing_keys'])[:5]}")
    return model.eval()


def _missing(name: str | Path) -> SourceError:
    return SourceError(f"{name}: no such folder on this machine, and no OWNER/NAME at the hub; correct the path")


def _require_checkpoint(folder: str | Path) -> None:
    if not Path(folder).exists():
        raise _missing(folder)
    if not (Path(folder) / "config.json").is_file() or not any(Path(folder).glob("*.safetensors")):
        raise SourceError(f"{folder}: expected a transformers checkpoint, i.e. config.json and *.safetensors files")


def _check_names_of_weights(folder: Path) -> None:
    """Raise `SourceError` if a checkpoint refers to weights outside of its folder, which transformers would load."""
    named = []
    for index in sorted(folder.glob("*.safetensors.index.json")):
        weight_map = Settings(index, read_object(index)).section("weight_map")
        named += [(index, f"weight_map.{short_text(key)}", file) for key, file in weight_map.values.items()]
    config = folder / "config.json"
    if config.is_file() and (file := read_object(config).get("transformers_weights")) is not None:
        named.append((config, "transformers_weights", file))
    for path, key, file in named:
        if not isinstance(file, str) or Path(file).name != file or not file.endswith((".safetensors", ".index.json")):
            raise SourceError(
                f"{path}: {key} is {short_text(repr(file))}, expected the name of a safetensors file in {folder}"
            )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep transformers from asking questions, and its progress bars and table of unused weights out of logs.

    Transformers may ask whether to run code from a checkpoint. Standard input is closed, so that text in a pipe cannot
    answer.
    """
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with nothing_to_read():
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
