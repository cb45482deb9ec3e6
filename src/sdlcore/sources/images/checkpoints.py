"""Load CLIP models of open_clip: an architecture, its weights from a file, a tag or the hub, and both embeddings.

Weights come as safetensors or as tensors that torch reads without unpickling anything else; no code that comes with a
model is ever run.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from huggingface_hub import hf_hub_download
from PIL import Image

from sdlcore.errors import SourceError
from sdlcore.sources.folders import NO_FILE
from sdlcore.storage.parsing import NO_CODE, describe_error, nothing_to_read, parsing

HUB = "hf-hub:"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


class LoadedClip(NamedTuple):
    """A CLIP in evaluation mode.

    Attributes
    ----------
    model
        The model, of open_clip.
    preprocess
        From a picture to a tensor, as the weights were trained for.
    architecture
        The name that open_clip knows it by.
    """

    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    architecture: str


def load_clip(model: str, pretrained: str, dtype: str = "float32", device: str = "cpu") -> LoadedClip:
    """Return a CLIP with its weights.

    Parameters
    ----------
    model
        Name of an architecture that open_clip knows, or path of a JSON file that describes one.
    pretrained
        A file of weights, a tag that open_clip knows for the model, or ``hf-hub:<owner>/<name>``.
    dtype
        float32, or bfloat16: weights of products in bfloat16, norms in float32.
    device
        Where to.

    Raises
    ------
    SourceError
        If there is no such architecture or no such weights, if they do not fit each other, or if one was trained with
        QuickGELU and the other has GELU, which would give other embeddings without a word.
    """
    name = architecture = register_architecture(model)
    where = f"weights {pretrained!r} of {name}"
    wanted = pretrained
    if pretrained.startswith(HUB):
        _require_same_architecture(pretrained, name)
        name, wanted = pretrained, ""
    elif Path(pretrained).suffix in WEIGHTS or Path(pretrained).exists():
        _require_weights_file(pretrained, name)
    else:
        _require_tag(name, pretrained)
    try:
        with nothing_to_read():
            loaded, _, preprocess = open_clip.create_model_and_transforms(
                name, wanted or None, precision=PRECISIONS[dtype], device=device, weights_only=True
            )
    except Exception as error:  # of pickle, safetensors, torch, the hub's client, and more
        raise SourceError(
            f"{where} do not load ({describe_error(error)}); where no hub can be reached, fetch the file elsewhere and "
            "give its path; a TorchScript archive must be saved as a state dict first"
        ) from error
    return LoadedClip(loaded.eval(), preprocess, architecture)


def register_architecture(model: str) -> str:
    """Return the name that open_clip knows an architecture by; a JSON file is made known to it first.

    Raises
    ------
    SourceError
        If open_clip does not know the name, or the file does not describe an architecture.
    """
    if not model.endswith(".json"):
        with parsing(model, "an architecture"):
            found = open_clip.get_model_config(model)
        _require_no_code(found, model)
        if found is None:
            alike = [name for name in open_clip.list_models() if name.lower().startswith(model.lower()[:5])]
            raise SourceError(f"model {model!r} is none that open_clip knows; alike are {', '.join(alike) or 'none'}")
        return model
    path = Path(model)
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for somebody to write
            raise OSError(NO_FILE)
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"model {model}: not a readable JSON file ({describe_error(error)})") from error
    parts = ("embed_dim", "vision_cfg", "text_cfg")
    if not isinstance(found, dict) or not set(parts) <= set(found):
        raise SourceError(
            f"model {model}: expected a JSON object with {', '.join(parts)}, as open_clip's model_configs"
        )
    _require_no_code(found, model)
    open_clip.add_model_config(path)
    if open_clip.get_model_config(path.stem) != found:
        raise SourceError(f"model {model}: another architecture goes by the name {path.stem}; rename the file")
    return path.stem


def embedder(model: Any, embedding: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function from images (B x 3 x height x width) to their embeddings (B x n_p).

    ``joint`` is what CLIP compares with texts, before it is divided by its norm. ``pooled`` is the output of the
    vision transformer (after its last layer norm) that the projection into the joint space is applied to; the model's
    projection is taken out for it.

    Raises
    ------
    SourceError
        If the model's image tower has no projection to leave out.
    """
    if embedding == "joint":
        return model.encode_image
    visual = model.visual
    if getattr(visual, "proj", None) is None or getattr(visual, "output_tokens", False):
        raise SourceError(
            f"embedding: pooled needs a vision transformer of open_clip with a projection to leave out, but the image "
            f"tower is a {type(visual).__name__} without; take joint"
        )
    visual.proj = None
    return visual


def weights_digest(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a module's weights, which are the same weights wherever they came from."""
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
    if beside.is_file():  # checkpoints of the hub come with one; a file alone does not say
        with parsing(beside, "open_clip's JSON"):
            found = json.loads(beside.read_text()).get("model_cfg", {})
            _require_same_activation(_has_quick_gelu(found), name, f"{path.name} (by {beside.name})")


def _require_tag(name: str, tag: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(name)
    found = open_clip.get_pretrained_cfg(name, tag)
    if not found:
        raise SourceError(
            f"pretrained {tag!r} is neither a file nor a tag of {name}; its tags are {', '.join(tags) or 'none'}"
        )
    _require_same_activation(_has_quick_gelu(found), name, f"tag {tag}")


def _require_same_architecture(pretrained: str, name: str) -> None:
    repository, _, revision = pretrained.removeprefix(HUB).partition("@")
    try:
        path = hf_hub_download(repository, "open_clip_config.json", revision=revision or None)
    except Exception as error:  # the hub's client has many
        raise SourceError(
            f"pretrained {pretrained}: no open_clip_config.json to be had ({describe_error(error)})"
        ) from error
    with parsing(pretrained, "open_clip's JSON"):
        found = json.loads(Path(path).read_text())["model_cfg"]
        _require_no_code(found, pretrained)
    architecture = open_clip.get_model_config(name)
    different = [key for key in ("embed_dim", "vision_cfg") if found.get(key) != architecture[key]]
    if different:
        key = different[0]
        raise SourceError(
            f"pretrained {pretrained} is of another architecture than model {name}: {key} is {found.get(key)}, "
            f"not {architecture[key]}"
        )
    _require_same_activation(_has_quick_gelu(found), name, pretrained)


def _require_no_code(found: Any, where: str) -> None:
    """Refuse settings, however deep, that would have a tokenizer or a text tower run code that comes with it."""
    waiting = [found]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("trust_remote_code"):
                raise SourceError(f"{where}: sets trust_remote_code, but {NO_CODE}")
            waiting += part.values()


def _has_quick_gelu(settings: Any) -> bool:
    """Tell whether open_clip's settings of a model, or of weights, say QuickGELU."""
    return bool(settings.get("quick_gelu", False))


def _require_same_activation(trained: bool, name: str, what: str) -> None:
    """Refuse weights that were trained with QuickGELU for a model without, and the other way round."""
    built = _has_quick_gelu(open_clip.get_model_config(name))
    if trained == built:
        return
    kinds = {True: "QuickGELU", False: "GELU"}
    base = name.removesuffix("-quickgelu")
    raise SourceError(
        f"{what} was trained with {kinds[trained]}, but model {name} has {kinds[built]}, which gives other embeddings; "
        f"set model to {f'{base}-quickgelu' if trained else base}"
    )


def tokenizer_of(name: str) -> Any:
    """Return the tokenizer of an architecture that is known to open_clip.

    Raises
    ------
    SourceError
        If there is none, or it needs code of its own.
    """
    with parsing(name, "an architecture with a tokenizer", NO_CODE), nothing_to_read():
        return open_clip.get_tokenizer(name)
