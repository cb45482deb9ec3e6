"""Load CLIP models with open_clip: architecture, weights (from a file, a tag or the hub) and embedding function.

Weights are safetensors, or tensors that torch reads with ``weights_only``. No code that comes with a model is run.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import hf_hub_download

from sdlcore.errors import SourceError
from sdlcore.extras import extra
from sdlcore.storage.parsing import NO_CODE, describe_error, nothing_to_read, parsing

with extra("clip"):
    import open_clip
    from PIL import Image

HUB = "hf-hub:"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


class LoadedClip(NamedTuple):
    """A CLIP model in evaluation mode.

    Attributes
    ----------
    model
        The open_clip model.
    preprocess
        Converts a picture to a tensor, with the preprocessing that the weights were trained with.
    architecture
        Its name in open_clip.
    """

    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    architecture: str


class NewClip(NamedTuple):
    """An untrained CLIP model in training mode.

    Attributes
    ----------
    model
        The open_clip model.
    preprocess
        Converts a picture to a tensor.
    tokenizer
        Converts captions to tokens (N x context length).
    architecture
        Its name in open_clip.
    """

    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor]
    architecture: str


def new_clip(model: str) -> NewClip:
    """Return a CLIP model with new weights, which are drawn from torch's global generator.

    Parameters
    ----------
    model
        Name of an open_clip architecture, or path of a JSON file that describes one.

    Raises
    ------
    SourceError
        If the architecture is unknown, has no tokenizer, or would have to run its own code.
    """
    name = register_architecture(model)
    with parsing(name, "an architecture", NO_CODE), nothing_to_read():
        clip, _, preprocess = open_clip.create_model_and_transforms(name)
    with parsing(name, "an architecture with a tokenizer", NO_CODE), nothing_to_read():
        return NewClip(clip, preprocess, open_clip.get_tokenizer(name), name)


def load_clip(model: str, pretrained: str, dtype: str = "float32", device: str = "cpu") -> LoadedClip:
    """Load a CLIP model with its weights.

    Parameters
    ----------
    model
        Name of an open_clip architecture, or path of a JSON file that describes one.
    pretrained
        A file of weights, a tag that open_clip lists for the model, or ``hf-hub:<owner>/<name>``.
    dtype
        float32, or bfloat16: weights of matrix products in bfloat16, norms in float32.
    device
        Device of the model.

    Raises
    ------
    SourceError
        If the architecture or the weights do not exist or do not match. Refused are also weights that were trained with
        QuickGELU in a model with GELU and the reverse, which would silently give different embeddings.
    """
    name = architecture = register_architecture(model)
    where = f"weights {pretrained!r} of {name}"
    weights = pretrained
    if pretrained.startswith(HUB):
        _require_same_architecture(pretrained, name)
        name, weights = pretrained, ""
    elif Path(pretrained).suffix in WEIGHTS or Path(pretrained).exists():
        _require_weights_file(pretrained, name)
    else:
        _require_tag(name, pretrained)
    try:
        with nothing_to_read():
            loaded, _, preprocess = open_clip.create_model_and_transforms(
                name, weights or None, precision=PRECISIONS[dtype], device=device, weights_only=True
            )
    except Exception as error:  # pickle, safetensors, torch and the hub's client raise many kinds
        raise SourceError(
            f"{where} do not load ({describe_error(error)}); without access to a hub, copy the file here and give its "
            "path; a TorchScript archive must be saved as a state dict first"
        ) from error
    return LoadedClip(loaded.eval(), preprocess, architecture)


def register_architecture(model: str) -> str:
    """Return the name of an architecture in open_clip; an architecture from a JSON file is registered first.

    Raises
    ------
    SourceError
        If the name is unknown, or the file does not describe an architecture.
    """
    if not model.endswith(".json"):
        with parsing(model, "an architecture"):
            architecture = open_clip.get_model_config(model)
        _require_no_code(architecture, model)
        if architecture is None:
            alike = [name for name in open_clip.list_models() if name.lower().startswith(model.lower()[:5])]
            similar = ", ".join(alike) or "none"
            raise SourceError(f"model {model!r} is unknown to open_clip; similar names are {similar}")
        return model
    path = Path(model)
    try:
        architecture = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"model {model}: not a readable JSON file ({describe_error(error)})") from error
    parts = ("embed_dim", "vision_cfg", "text_cfg")
    if not isinstance(architecture, dict) or not set(parts) <= set(architecture):
        raise SourceError(
            f"model {model}: expected a JSON object with {', '.join(parts)}, as in open_clip's model_configs"
        )
    _require_no_code(architecture, model)
    open_clip.add_model_config(path)
    if open_clip.get_model_config(path.stem) != architecture:
        raise SourceError(f"model {model}: open_clip has another architecture called {path.stem}; rename the file")
    return path.stem


def embedder(model: Any, embedding: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function from images (B x 3 x height x width) to their embeddings (B x n_p).

    ``joint`` is the embedding that CLIP compares with texts, without normalisation. ``pooled`` is the output of the
    vision transformer after its last layer norm, before the projection into the joint space; for this, the projection
    is removed from the model.

    Raises
    ------
    SourceError
        If ``embedding`` is pooled and the image tower has no projection to remove.
    """
    if embedding == "joint":
        return model.encode_image
    visual = model.visual
    if getattr(visual, "proj", None) is None or getattr(visual, "output_tokens", False):
        raise SourceError(
            f"embedding: pooled needs an open_clip vision transformer with a projection, but the image tower is a "
            f"{type(visual).__name__} without one; set embedding to joint"
        )
    visual.proj = None
    return visual


def weights_digest(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a module's weights, which does not depend on the file that they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _require_weights_file(pretrained: str, name: str) -> None:
    path = Path(pretrained)
    if not path.is_file() or path.suffix not in WEIGHTS:
        raise SourceError(f"pretrained {pretrained}: expected a file of weights ({', '.join(WEIGHTS)}), or a tag")
    beside = path.with_name("open_clip_config.json")
    if beside.is_file():  # checkpoints from the hub come with this file; weights alone do not name the activation
        with parsing(beside, "open_clip's JSON"):
            settings = json.loads(beside.read_text()).get("model_cfg", {})
            _require_same_activation(_has_quick_gelu(settings), name, f"{path.name} (by {beside.name})")


def _require_tag(name: str, tag: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(name)
    cfg = open_clip.get_pretrained_cfg(name, tag)
    if not cfg:
        raise SourceError(
            f"pretrained {tag!r} is neither a file nor a tag of {name}; its tags are {', '.join(tags) or 'none'}"
        )
    _require_same_activation(_has_quick_gelu(cfg), name, f"tag {tag}")


def _require_same_architecture(pretrained: str, name: str) -> None:
    repository, _, revision = pretrained.removeprefix(HUB).partition("@")
    try:
        path = hf_hub_download(repository, "open_clip_config.json", revision=revision or None)
    except Exception as error:  # the hub's client raises many kinds
        raise SourceError(
            f"pretrained {pretrained}: its open_clip_config.json cannot be fetched ({describe_error(error)})"
        ) from error
    with parsing(pretrained, "open_clip's JSON"):
        settings = json.loads(Path(path).read_text())["model_cfg"]
        _require_no_code(settings, pretrained)
    architecture = open_clip.get_model_config(name)
    different = [key for key in ("embed_dim", "vision_cfg") if settings.get(key) != architecture[key]]
    if different:
        key = different[0]
        raise SourceError(
            f"pretrained {pretrained} has another architecture than model {name}: {key} is {settings.get(key)}, "
            f"expected {architecture[key]}"
        )
    _require_same_activation(_has_quick_gelu(settings), name, pretrained)


def _require_no_code(settings: Any, where: str) -> None:
    """Raise `SourceError` for nested settings that would make a tokenizer or text tower run its own code."""
    waiting = [settings]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("trust_remote_code"):
                raise SourceError(f"{where}: sets trust_remote_code, but {NO_CODE}")
            waiting += part.values()


def _has_quick_gelu(settings: Any) -> bool:
    """Return whether open_clip's settings of a model, or of weights, specify QuickGELU."""
    return bool(settings.get("quick_gelu", False))


def _require_same_activation(trained: bool, name: str, what: str) -> None:
    """Raise `SourceError` if weights were trained with QuickGELU and the model uses GELU, or the reverse."""
    built = _has_quick_gelu(open_clip.get_model_config(name))
    if trained == built:
        return
    kinds = {True: "QuickGELU", False: "GELU"}
    base = name.removesuffix("-quickgelu")
    raise SourceError(
        f"{what} was trained with {kinds[trained]}, but model {name} uses {kinds[built]}, which changes embeddings; "
        f"set model to {f'{base}-quickgelu' if trained else base}"
    )
