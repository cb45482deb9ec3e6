"""Checkpoints of Llama-family language models: converting them once, and loading their first blocks.

Only local files and safetensors are read, and no code that comes with a model is ever run.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaModel
from transformers.utils import logging as transformers_logging

from sdlcore.activations.text import SourceError

log = logging.getLogger(__name__)


def convert_gguf(gguf_path: str | Path, out_dir: str | Path) -> None:
    """Convert a GGUF file of a Llama-family model to a folder with float32 safetensors and the tokenizer.

    Needs the packages ``gguf`` and ``accelerate``. The folder appears whole or not at all.

    Raises
    ------
    SourceError
        If the file is no GGUF file or its model no Llama, or something other than an empty folder is at
        ``out_dir``.
    """
    gguf_path, out_dir = Path(gguf_path), Path(out_dir)
    if not gguf_path.is_file():
        raise SourceError(f"{gguf_path}: no such GGUF file")
    with gguf_path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise SourceError(f"{gguf_path}: does not begin like a GGUF file; fetch it again")
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise SourceError(f"{out_dir}: already there; remove it to convert {gguf_path.name} again")
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    part = out_dir.with_name(f".{out_dir.name}.{os.getpid()}.part")
    where: dict[str, Any] = {"gguf_file": gguf_path.name, "local_files_only": True}
    try:
        with _quiet_transformers():
            # without dequantize the weights are dense as well, but save_pretrained refuses to write them
            model = AutoModelForCausalLM.from_pretrained(
                gguf_path.parent,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                **where,
            )
            _require_llama(model.config.model_type, gguf_path)
            model.save_pretrained(part)
            AutoTokenizer.from_pretrained(gguf_path.parent, **where).save_pretrained(part)
        part.replace(out_dir)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    log.info("%s: %d parameters converted from %s", out_dir, model.num_parameters(), gguf_path.name)


def load_truncated(folder: str | Path, layer: int, dtype: str = "float32") -> LlamaModel:
    """Return the first ``layer`` blocks of a checkpoint, without the final norm.

    The output ``last_hidden_state`` is the residual stream after those blocks.

    Raises
    ------
    SourceError
        If ``folder`` holds no Llama checkpoint in safetensors, has fewer blocks, or lacks weights.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise SourceError(f"{folder}: expected a transformers checkpoint, i.e. config.json and *.safetensors files")
    config = json.loads((folder / "config.json").read_text())
    _require_llama(config.get("model_type"), folder)
    blocks = config["num_hidden_layers"]
    if layer > blocks:
        raise SourceError(f"{folder}: layer is {layer}, but the model has {blocks} blocks; take at most {blocks}")
    with _quiet_transformers():
        loaded: Any = LlamaModel.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            num_hidden_layers=layer,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    model, loading = loaded
    if loading["missing_keys"]:  # transformers would go on with random weights
        raise SourceError(f"{folder}: the checkpoint lacks the weights {sorted(loading['missing_keys'])[:5]}")
    model.norm = torch.nn.Identity()
    return model.eval()


def load_tokenizer(folder: str | Path) -> Any:
    """Return the tokenizer of a checkpoint's folder."""
    with _quiet_transformers():
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _require_llama(model_type: Any, where: Path) -> None:
    if model_type != "llama":
        raise SourceError(f"{where}: the model's architecture is {model_type!r}, but only 'llama' is supported")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and its table of the blocks left out from plain logs."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
