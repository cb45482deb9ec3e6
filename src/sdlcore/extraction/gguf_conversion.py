"""Convert GGUF files to folders that transformers loads, once for each file.

The content of the file determines the folder's name. So checkouts with one cache share converted models, and never
replace or remove a model of another checkout.
"""

import logging
import tempfile
from pathlib import Path
from typing import Any

import torch

from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import paths_of
from sdlcore.extraction.models import undisturbed
from sdlcore.extras import extra
from sdlcore.identity import NUMBERS
from sdlcore.storage.files import atomic_folder, make_once, sha256_of
from sdlcore.storage.parsing import NO_CODE, parsing
from sdlcore.text import listed

with extra("language"):
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

log = logging.getLogger(__name__)


def converted_gguf(gguf_path: str | Path, cache: str | Path) -> Path:
    """Return the folder below ``cache`` with the converted model of a GGUF file. Convert the file if needed.

    If several processes call this at once, one converts, and the others wait.

    Raises
    ------
    SourceError
        As `convert_gguf`.
    """
    gguf_path = Path(gguf_path)
    _require_gguf(gguf_path)
    folder = Path(cache) / f"{gguf_path.stem}-{sha256_of(gguf_path)[:16]}-{NUMBERS['language_model']}"
    make_once(folder, lambda path: convert_gguf(gguf_path, path))
    return folder


def convert_gguf(gguf_path: str | Path, out_dir: str | Path) -> None:
    """Convert a GGUF file to a folder with float32 safetensors and the tokenizer.

    This needs the packages ``gguf`` and ``accelerate``. The folder appears whole or not at all. Other files beside the
    GGUF file are ignored, above all code.

    Raises
    ------
    SourceError
        If the file is not a GGUF file, its architecture is unknown, or ``out_dir`` is neither missing nor an empty
        folder.
    """
    gguf_path, out_dir = Path(gguf_path), Path(out_dir)
    _require_gguf(gguf_path)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise SourceError(f"{out_dir}: already exists; remove it to convert {gguf_path.name} again")
    with atomic_folder(out_dir) as part:
        model, tokenizer = _load(gguf_path)
        with undisturbed():
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    log.info("%s: %d parameters converted from %s", out_dir, model.num_parameters(), gguf_path.name)


def _require_gguf(path: Path) -> None:
    if not path.is_file():
        raise SourceError(f"{path}: no such GGUF file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise SourceError(f"{path}: does not begin like a GGUF file; download it again")


def _load(path: Path) -> tuple[Any, Any]:
    """Load the model and the tokenizer of a GGUF file, from a folder that contains no other file."""
    with tempfile.TemporaryDirectory() as alone, parsing(path, "a GGUF file", f"fetch it again; {NO_CODE}"):
        (Path(alone) / path.name).symlink_to(path.resolve())
        where = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
        kind: Any = AutoModelForCausalLM  # its annotations leave out the result with output_loading_info
        with undisturbed():
            # without dequantize the weights are dense as well, but save_pretrained refuses to write them
            model, loading = kind.from_pretrained(
                alone,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                **where,
            )
            paths_of(model.config.to_dict(), None, str(path))
            if loading["missing_keys"]:  # transformers would draw random weights in their place
                raise SourceError(f"{path}: lacks the weights {listed(sorted(loading['missing_keys']))}")
            return model, AutoTokenizer.from_pretrained(alone, **where)
