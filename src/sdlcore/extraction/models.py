"""Find and load language models, their tokenizers, and vision models.

Weights are safetensors, GGUF, or tensors that torch reads with ``weights_only``. Code in a checkpoint is never run.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sdlcore.errors import SourceError
from sdlcore.extraction.config import is_hub_model
from sdlcore.extraction.hooks import is_transformers
from sdlcore.extras import extra
from sdlcore.settings import Json
from sdlcore.storage.files import sha256_of, user_path
from sdlcore.storage.parsing import NO_CODE, parsing, read_object
from sdlcore.suggestions import did_you_mean

MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model")
HUB = "hf-hub:"
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


def _transformers() -> Any:
    """Import transformers, which takes seconds, only when a model is loaded."""
    with extra("language"):
        import transformers
    return transformers


def find_checkpoint(reference: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a model, with config.json, safetensors and tokenizer.

    ``reference`` is a folder, or OWNER/NAME at the hub, which is downloaded if needed: the newest ``revision`` (commit,
    tag or branch) if it is None. SourceError if the model does not exist, needs an access request, or the hub cannot
    be reached.
    """
    name, folder = str(reference), user_path(reference, "model")
    if is_hub_model(name):
        from sdlcore.extraction.hub import snapshot

        # folders in a repository hold the same weights in other formats
        folder = snapshot(name, revision, MODEL_FILES, ignore_patterns=["*/*"])
    elif not folder.exists():
        raise SourceError(f"{name}: no such folder on this machine, and no OWNER/NAME at the hub; correct the path")
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise SourceError(f"{name}: expected a transformers checkpoint, i.e. config.json and *.safetensors files")
    return folder


def checkpoint_facts(reference: str | Path, folder: Path) -> dict[str, Json]:
    """Return the provenance of a model in a folder: its commit at the hub, or checksums of its weights."""
    if is_hub_model(str(reference)):
        return {"name": str(reference), "commit": folder.name}
    return {"files": {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))}}


def load_any(name: str | Path, dtype: str = "auto", kind: str = "AutoModelForCausalLM") -> Any:
    """Load a model of transformers by its class ``kind``.

    ``name`` is a folder with a checkpoint in safetensors, a ``.gguf`` file, or OWNER/NAME at the hub. ``dtype`` is the
    precision; auto for the checkpoint's. GGUF files become float32. SourceError if the model does not exist,
    needs code from its checkpoint, or lacks weights.
    """
    path = user_path(name, "model")
    if path.suffix == ".gguf" and path.is_file():
        # without dequantize the weights are dense as well, but save_pretrained refuses to write them
        dense = _transformers().GgufConfig(dequantize=True)
        model = _pretrained(kind, path.parent, "float32", gguf_file=path.name, quantization_config=dense)
        model.name_or_path = str(path)  # transformers records the folder, which does not lead to the tokenizer
        return model
    folder = find_checkpoint(name)
    model = _pretrained(kind, folder, dtype, use_safetensors=True)
    if is_hub_model(str(name)):
        model.name_or_path = str(name)  # as for a model that the user has loaded, so that both open the same store
    return model


def load_tokenizer(name: str | Path) -> Any:
    """Load the tokenizer of a checkpoint, a ``.gguf`` file, or a model at the hub.

    SourceError if the tokenizer is not readable, or needs code from its checkpoint.
    """
    path, options = Path(name), {}
    if path.suffix == ".gguf" and path.is_file():  # a converted model is a folder of this name
        name, options = path.parent, {"gguf_file": path.name}
    with parsing(path, "a checkpoint's tokenizer", NO_CODE), quiet():
        return _transformers().AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)


def tokenizer_of(model: Any, tokenizer: Any = None) -> Any:
    """Return ``tokenizer``, or load it by its name; None for the tokenizer of the model's checkpoint.

    ValueError if the model does not record where it was loaded from.
    """
    if isinstance(tokenizer, str | Path):
        return load_tokenizer(tokenizer)
    if tokenizer is None:
        tokenizer = getattr(model, "tokenizer", None)  # of TransformerLens
    if tokenizer is None and not getattr(model, "name_or_path", ""):
        raise ValueError(
            f"{type(model).__name__}: the model does not record where it was loaded from; give its tokenizer"
        )
    return tokenizer or load_tokenizer(model.name_or_path)


def loaded(lm: Any, tokenizer: Any, device: torch.device) -> tuple[Any, Any]:
    """Return a causal language model and its tokenizer. Load each of them that is given by name or missing."""
    if isinstance(lm, str | Path):
        lm = load_any(lm).to(device)
    if not is_transformers(lm):
        raise SourceError(f"lm is a {type(lm).__name__}, expected a language model of transformers")
    return lm, tokenizer_of(lm, tokenizer)


def model_facts(model: Any) -> dict[str, Json]:
    """Return the provenance of a loaded model. Reads all of its weights."""
    weights = hashlib.sha256()
    for name, values in model.state_dict().items():
        weights.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        weights.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {
        "name": getattr(model, "name_or_path", None) or type(model).__name__,
        "commit": getattr(getattr(model, "config", None), "_commit_hash", None),
        "sha256": weights.hexdigest(),
    }


def precision_of(model: Any) -> str:
    """Return the name of a loaded model's precision, such as float32."""
    first = next(model.parameters(), None)
    return "float32" if first is None else str(first.dtype).removeprefix("torch.")


def _pretrained(kind: str, folder: str | Path, dtype: str, **options: Any) -> Any:
    path = Path(folder, options.get("gguf_file", ""))
    with parsing(path, "a checkpoint", NO_CODE), quiet():
        model, loading = getattr(_transformers(), kind).from_pretrained(
            folder,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    if loading["missing_keys"]:  # transformers would continue with random weights
        raise SourceError(f"{path}: the checkpoint lacks the weights {sorted(loading['missing_keys'])[:5]}")
    return model.eval()


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


def open_clip() -> Any:
    """Import open_clip, which takes seconds, only when a model is loaded."""
    with extra("clip"):
        import open_clip
    return open_clip


def load_clip(model: str, pretrained: str, dtype: str = "float32", device: str = "cpu") -> Any:
    """Load a CLIP model of open_clip with its weights, in evaluation mode.

    ``model`` is the name of an architecture in open_clip, or a JSON file that describes one. ``pretrained`` is a file
    of weights, a tag that open_clip lists for the model, or ``hf-hub:<owner>/<name>``. ``dtype`` is float32, or
    bfloat16: weights of matrix products in bfloat16, norms in float32.

    SourceError if the architecture or the weights do not exist or do not match. Refused are also weights that were
    trained with QuickGELU in a model with GELU and the reverse, which would silently give different embeddings.
    """
    library, name = open_clip(), register_architecture(model)
    is_at_hub, expected = pretrained.startswith(HUB), library.get_model_config(name)
    with parsing(
        pretrained, f"weights of {name}", "without access to a hub, give the path of a file with a state dict"
    ):
        # a file does not say how its weights were trained
        trained = library.get_model_config(pretrained) if is_at_hub else library.get_pretrained_cfg(name, pretrained)
        for key in ("embed_dim", "vision_cfg", "quick_gelu") if is_at_hub else ("quick_gelu",) if trained else ():
            found, needed = trained.get(key, False), expected.get(key, False)
            if found != needed:
                raise SourceError(
                    f"{pretrained} was trained with {key} {found}, but model {model} has {needed}; set model to the "
                    "architecture of the weights, whose name ends in -quickgelu if quick_gelu is True"
                )
        source = (pretrained, None) if is_at_hub else (name, pretrained)
        options = {"precision": PRECISIONS[dtype], "device": device, "weights_only": True}
        clip, _, _ = library.create_model_and_transforms(*source, **options)
    return clip.eval()


def register_architecture(model: str) -> str:
    """Return the name of an architecture in open_clip; an architecture from a JSON file is registered first.

    SourceError if the name is unknown, or the file does not describe an architecture.
    """
    library = open_clip()
    if not model.endswith(".json"):
        if library.get_model_config(model) is None:
            raise SourceError(f"model {model} is unknown to open_clip{did_you_mean(model, library.list_models())}")
        return model
    path = Path(model)
    with parsing(path, "an architecture in JSON"):
        architecture = read_object(path)
    library.add_model_config(path)
    if library.get_model_config(path.stem) != architecture:
        raise SourceError(
            f"model {model}: expected a JSON object with embed_dim, vision_cfg and text_cfg, as in open_clip, whose "
            f"name {path.stem} no other architecture has"
        )
    return path.stem


def load_vision(name: str, dtype: str = "float32", device: str = "cpu") -> Any:
    """Load a vision model in evaluation mode.

    ``name`` is ``open_clip:ARCHITECTURE:PRETRAINED`` as for `load_clip`, whose image tower is returned; ``timm:MODEL``,
    or ``timm:MODEL:FILE`` for weights in a file; ``transformers:NAME`` or NAME, a folder or a name at the hub.
    """
    library, _, rest = name.partition(":")
    first, _, second = rest.partition(":")
    if library == "open_clip":
        return load_clip(first, second, dtype, device).visual
    if library == "timm":
        import timm

        model = timm.create_model(first, pretrained=not second, checkpoint_path=second)
    else:
        model = load_any(rest if library == "transformers" else name, dtype, "AutoModel")
    return model.to(device, getattr(torch, dtype)).eval()
