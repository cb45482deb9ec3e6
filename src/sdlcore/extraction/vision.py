"""Load vision models: CLIP models of open_clip, and models of transformers and timm.

Weights are safetensors, or tensors that torch reads with ``weights_only``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import hf_hub_download

from sdlcore.errors import SourceError
from sdlcore.extraction.images import Transform, transform_of
from sdlcore.extras import extra
from sdlcore.storage.parsing import describe_error, parsing

with extra("clip"):
    import open_clip

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
    preprocess: Transform
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
    preprocess: Transform
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
        If the architecture is unknown or has no tokenizer.
    """
    name = register_architecture(model)
    with parsing(name, "an architecture with a tokenizer"):
        clip, _, preprocess = open_clip.create_model_and_transforms(name)
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
    weights = pretrained
    if pretrained.startswith(HUB):
        _require_same_architecture(pretrained, name)
        name, weights = pretrained, ""
    elif Path(pretrained).suffix in WEIGHTS or Path(pretrained).exists():
        beside = Path(pretrained).with_name("open_clip_config.json")
        if beside.is_file():  # checkpoints from the hub come with this file; weights alone do not name the activation
            settings = json.loads(beside.read_text()).get("model_cfg", {})
            _require_same_activation(settings, name, f"{Path(pretrained).name} (by {beside.name})")
    else:
        cfg = open_clip.get_pretrained_cfg(name, pretrained)
        if not cfg:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
            raise SourceError(f"pretrained {pretrained!r} is neither a file nor a tag of {name}; its tags are {tags}")
        _require_same_activation(cfg, name, f"tag {pretrained}")
    try:
        loaded, _, preprocess = open_clip.create_model_and_transforms(
            name, weights or None, precision=PRECISIONS[dtype], device=device, weights_only=True
        )
    except Exception as error:  # pickle, safetensors, torch and the hub's client raise many kinds
        raise SourceError(
            f"weights {pretrained!r} of {name} do not load ({describe_error(error)}); without access to a hub, copy "
            "the file here and give its path; a TorchScript archive must be saved as a state dict first"
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
        if open_clip.get_model_config(model) is None:
            alike = [name for name in open_clip.list_models() if name.lower().startswith(model.lower()[:5])]
            raise SourceError(
                f"model {model!r} is unknown to open_clip; similar names are {', '.join(alike) or 'none'}"
            )
        return model
    path = Path(model)
    with parsing(path, "an architecture in JSON"):
        architecture = json.loads(path.read_text())
    parts = {"embed_dim", "vision_cfg", "text_cfg"}
    if not isinstance(architecture, dict) or not parts <= set(architecture):
        raise SourceError(f"model {model}: expected a JSON object with {', '.join(sorted(parts))}, as in open_clip")
    open_clip.add_model_config(path)
    if open_clip.get_model_config(path.stem) != architecture:
        raise SourceError(f"model {model}: open_clip has another architecture called {path.stem}; rename the file")
    return path.stem


def image_tower(model: Any, embedding: str) -> Any:
    """Return the module whose output is the embedding of an image (B x 3 x height x width -> B x n_p).

    ``joint`` is the embedding that CLIP compares with texts, without normalisation. ``pooled`` is the output of the
    vision transformer after its last layer norm, before the projection into the joint space; for this, the projection
    is removed from the model.

    Raises
    ------
    SourceError
        If ``embedding`` is pooled and the image tower has no projection to remove.
    """
    visual = model.visual
    if embedding == "pooled":
        if getattr(visual, "proj", None) is None:
            raise SourceError(
                "embedding: pooled needs an open_clip vision transformer with a projection, but the image tower is a "
                f"{type(visual).__name__} without one; set embedding to joint, or at to the path of a module"
            )
        visual.proj = None
    return visual


def load_vision(name: str, dtype: str = "float32", device: str = "cpu") -> tuple[Any, Transform]:
    """Load a vision model in evaluation mode, with the preprocessing of its images.

    Parameters
    ----------
    name
        ``open_clip:ARCHITECTURE:PRETRAINED`` as for `load_clip`, whose image tower is returned; ``timm:MODEL``, or
        ``timm:MODEL:FILE`` for weights in a file; ``transformers:NAME`` or NAME, a folder or a name at the hub.
    dtype
        float32 or bfloat16.
    device
        Device of the model.
    """
    library, _, rest = name.partition(":")
    first, _, second = rest.partition(":")
    if library == "open_clip":
        clip = load_clip(first, second, dtype, device)
        return clip.model.visual, clip.preprocess
    if library == "timm":
        import timm

        model = timm.create_model(first, pretrained=not second, checkpoint_path=second)
    else:
        from sdlcore.extraction.models import load_any

        model = load_any(rest if library == "transformers" else name, dtype, "AutoModel")
    model = model.to(device, getattr(torch, dtype)).eval()
    return model, transform_of(model)


def _require_same_architecture(pretrained: str, name: str) -> None:
    repository, _, revision = pretrained.removeprefix(HUB).partition("@")
    with parsing(pretrained, "a model of open_clip at the hub"):
        path = hf_hub_download(repository, "open_clip_config.json", revision=revision or None)
        settings = json.loads(Path(path).read_text())["model_cfg"]
    architecture = open_clip.get_model_config(name)
    for key in ("embed_dim", "vision_cfg"):
        if settings.get(key) != architecture[key]:
            raise SourceError(
                f"pretrained {pretrained} has another architecture than model {name}: {key} is {settings.get(key)}, "
                f"expected {architecture[key]}"
            )
    _require_same_activation(settings, name, pretrained)


def _require_same_activation(trained: Any, name: str, what: str) -> None:
    """Raise `SourceError` if weights were trained with QuickGELU and the model uses GELU, or the reverse."""
    quick = [bool(settings.get("quick_gelu", False)) for settings in (trained, open_clip.get_model_config(name))]
    if quick[0] != quick[1]:
        kinds, base = {True: "QuickGELU", False: "GELU"}, name.removesuffix("-quickgelu")
        raise SourceError(
            f"{what} was trained with {kinds[quick[0]]}, but model {name} uses {kinds[quick[1]]}, which changes "
            f"embeddings; set model to {f'{base}-quickgelu' if quick[0] else base}"
        )
