"""Find and load language models, whole or only their first blocks, and their tokenizers.

Weights are safetensors or GGUF. Code in a checkpoint is never run.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import Paths, cuts, paths_of
from sdlcore.extraction.hooks import Stack, require_model
from sdlcore.extraction.hub_names import is_hub_model
from sdlcore.extras import extra
from sdlcore.settings import Json
from sdlcore.storage.files import sha256_of, user_path
from sdlcore.storage.parsing import NO_CODE, parsing, read_object


def _transformers() -> Any:
    """Import transformers, which takes seconds, only when a model is loaded."""
    with extra("language"):
        import transformers
    return transformers


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
    if is_hub_model(name):
        from sdlcore.extraction.hub import model_config, model_snapshot

        paths_of(model_config(name, revision), paths, name)  # before the weights are downloaded
        folder = model_snapshot(name, revision)
        return Checkpoint(name, folder, folder.name)
    _require_checkpoint(folder)
    with parsing(folder / "config.json", "a model's configuration in JSON", "fetch the checkpoint again"):
        paths_of(read_object(folder / "config.json"), paths, name)
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
    _require_checkpoint(Path(folder))
    with parsing(folder, "a model's configuration", NO_CODE), quiet():
        config = _transformers().AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
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
    return Stack.of(_pretrained("AutoModel", folder, dtype, config=config, local_files_only=True), paths)


def load_whole(folder: str | Path, dtype: str = "float32") -> Any:
    """Load a checkpoint's whole causal language model. Raises as `load_stack` does."""
    _require_checkpoint(Path(folder))
    return _pretrained("AutoModelForCausalLM", folder, dtype, local_files_only=True)


def load_any(name: str | Path, dtype: str = "auto", kind: str = "AutoModelForCausalLM") -> Any:
    """Load a model of transformers.

    Parameters
    ----------
    name
        A folder with a checkpoint in safetensors, a ``.gguf`` file, or OWNER/NAME at the hub.
    dtype
        Precision; auto for that of the checkpoint. GGUF files become float32.
    kind
        Name of the class of transformers that loads it.

    Raises
    ------
    SourceError
        If the model does not exist, needs code from its checkpoint, or lacks weights.
    """
    path = user_path(name, "model")
    if path.suffix == ".gguf" and path.is_file():
        # without dequantize the weights are dense as well, but save_pretrained refuses to write them
        dense = _transformers().GgufConfig(dequantize=True)
        model = _pretrained(kind, path.parent, "float32", gguf_file=path.name, quantization_config=dense)
        model.name_or_path = str(path)  # transformers records the folder, which does not lead to the tokenizer
        return model
    if not path.exists() and not is_hub_model(str(name)):
        raise _missing(name)
    if not path.exists():
        from sdlcore.extraction.hub import model_config

        model_config(str(name), None)  # transformers would try for 23 seconds to reach the hub
    return _pretrained(kind, path if path.exists() else name, dtype, use_safetensors=True)


def load_tokenizer(name: str | Path, local: bool = True) -> Any:
    """Load the tokenizer of a checkpoint, a ``.gguf`` file, or a model at the hub.

    ``local`` restricts a tokenizer of the hub to the local cache.

    Raises
    ------
    SourceError
        If the tokenizer is not readable, or needs code from its checkpoint.
    """
    path, options = Path(name), {"local_files_only": local, "trust_remote_code": False}
    with parsing(name, "a checkpoint's tokenizer", NO_CODE), quiet():
        if path.suffix == ".gguf" and path.is_file():  # a converted model is a folder of this name
            return _transformers().AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, **options)
        return _transformers().AutoTokenizer.from_pretrained(name, **options)


def loaded(lm: Any, tokenizer: Any, device: torch.device) -> tuple[Any, Any]:
    """Return a causal language model and its tokenizer. Load each of them that is given by name or missing."""
    if tokenizer is not None and not hasattr(tokenizer, "convert_tokens_to_ids"):
        kind = repr(tokenizer) if isinstance(tokenizer, str) else type(tokenizer).__name__
        raise ValueError(
            f"tokenizer is {kind}, expected a tokenizer of transformers, as AutoTokenizer.from_pretrained returns it"
        )
    source = str(user_path(lm, "lm")) if isinstance(lm, str | Path) else None
    if source is not None:
        lm = load_any(source).to(device)
    require_model(lm)
    source = source or lm.name_or_path
    if tokenizer is None and not source:
        raise ValueError(f"{type(lm).__name__}: the model does not record where it was loaded from; give its tokenizer")
    return lm, tokenizer or load_tokenizer(source, local=False)


def model_facts(model: Any) -> dict[str, Json]:
    """Return the provenance of a loaded model. Reads all of its weights."""
    weights = hashlib.sha256()
    for name, values in model.state_dict().items():
        weights.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        weights.update(values.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {
        "name": getattr(model, "name_or_path", None) or type(model).__name__,
        "commit": getattr(getattr(model, "config", None), "_commit_hash", None),
        "sha256": weights.hexdigest(),
    }


def precision_of(model: Any) -> str:
    """Return the name of a loaded model's precision, such as float32."""
    first = next(model.parameters(), None)
    return "float32" if first is None else str(first.dtype).removeprefix("torch.")


def _pretrained(kind: str, folder: str | Path, dtype: str, **settings: Any) -> Any:
    path = Path(folder, settings.get("gguf_file", ""))
    with parsing(path, "a checkpoint", NO_CODE), quiet():
        model, loading = getattr(_transformers(), kind).from_pretrained(
            folder,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            trust_remote_code=False,
            output_loading_info=True,
            **settings,
        )
    if loading["missing_keys"]:  # transformers would continue with random weights
        raise SourceError(f"{path}: the checkpoint lacks the weights {sorted(loading['missing_keys'])[:5]}")
    return model.eval()


def _missing(name: str | Path) -> SourceError:
    return SourceError(f"{name}: no such folder on this machine, and no OWNER/NAME at the hub; correct the path")


def _require_checkpoint(folder: Path) -> None:
    if not folder.exists():
        raise _missing(folder)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise SourceError(f"{folder}: expected a transformers checkpoint, i.e. config.json and *.safetensors files")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and its table of unused weights out of logs."""
    transformers_logging = _transformers().utils.logging
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
