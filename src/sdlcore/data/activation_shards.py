"""Read activations that another engine wrote as shards, into a store.

A folder holds safetensors or Parquet files and a manifest.json, which docs/activations.md describes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from safetensors import safe_open

from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import Progress, resume_store
from sdlcore.errors import SourceError
from sdlcore.extras import extra
from sdlcore.identity import identity, provenance, require_same
from sdlcore.settings import Settings, StoredPrecision
from sdlcore.storage.files import sha256_of, user_path
from sdlcore.storage.parsing import parsing

MANIFEST = "manifest.json"
ROWS_AT_ONCE = 8192


class Column(Settings):
    """A site of the activations."""

    width: PositiveInt
    dtype: StoredPrecision


class Shard(Settings):
    """A file of consecutive rows, in the folder of the manifest."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.(safetensors|parquet)$")]
    rows: PositiveInt
    sha256: str | None = None


class Manifest(Settings):
    """The content of a folder of shards."""

    format: Literal["activation shards"]
    version: Literal[1]
    columns: dict[Literal["input", "target"], Column]
    numbers: list[str] = Field(default_factory=list)
    """Columns of one whole number a row: ``labels``, and references."""
    shards: Annotated[list[Shard], Field(min_length=1)]
    made_by: Any = None
    """JSON of the other engine, for provenance."""

    def check_together(self) -> None:
        if "input" not in self.columns or len({column.dtype for column in self.columns.values()}) > 1:
            raise ValueError("columns: expected input, and target of the same dtype if any")


def import_activations(folder: str | Path, out: str | Path) -> ActivationStore:
    """Copy activations that another engine wrote as shards to a store, and open it.

    The same call resumes a copy that was cut off, and opens a finished one.

    Parameters
    ----------
    folder
        Shards in safetensors or Parquet, and their manifest.json (docs/activations.md).
    out
        The store to write (.h5).

    Returns
    -------
    The opened store, for `fit`; use it in ``with``, or call ``close``.

    Raises
    ------
    SourceError
        Naming the manifest's key or the shard that is wrong.
    ValueError
        If ``out`` holds other activations.
    """
    folder, path = user_path(folder, "folder"), user_path(out, "out")
    with parsing(folder / MANIFEST, "a manifest of activation shards"):
        manifest = Manifest.from_dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    shards = {shard.file: shard.sha256 or sha256_of(folder / shard.file) for shard in manifest.shards}
    run = identity("activations", {}, inputs={"manifest": sha256_of(folder / MANIFEST), "shards": shards})
    facts = provenance(identity=run, made_by=manifest.made_by)
    if path.exists():
        with ActivationStore(path) as store:
            require_same(path, store.provenance, facts)
        return ActivationStore(path)
    with resume_store(path, facts, dtype=manifest.columns["input"].dtype) as writer:
        for number in range(writer.state(Progress()).next, len(manifest.shards)):
            shard, before = manifest.shards[number], writer.rows
            file = folder / shard.file
            if shard.sha256 is not None and sha256_of(file) != shard.sha256:
                raise SourceError(f"{file}: does not fit its checksum in {MANIFEST}; fetch it again")
            with parsing(file, "a shard of activations"):
                for block in _blocks(file, manifest):
                    columns = {name: block.pop(name, None) for name in ("input", "target", "labels")}
                    writer.append(**columns, references=block or None)  # type: ignore[arg-type]
            if writer.rows - before != shard.rows:
                raise SourceError(f"{file}: has {writer.rows - before} rows, but {MANIFEST} says {shard.rows}")
            writer.commit(Progress(next=number + 1))
    return ActivationStore(path)


def _blocks(path: Path, manifest: Manifest) -> Iterator[dict[str, np.ndarray]]:
    """Yield the columns of a shard in blocks of rows, as NumPy arrays; bfloat16 is converted to float32."""
    read = _of_safetensors if path.suffix == ".safetensors" else _of_parquet
    for block in read(path, [*manifest.columns, *manifest.numbers]):
        for name, column in manifest.columns.items():
            if (shape := block[name].shape[1:]) != (column.width,):
                raise SourceError(f"{path}: a row of {name} has the shape {shape}, expected ({column.width},)")
        yield block


def _of_safetensors(path: Path, columns: list[str]) -> Iterator[dict[str, np.ndarray]]:
    with safe_open(path, "pt") as file:  # NumPy lacks bfloat16
        tensors: dict[str, Any] = {name: file.get_slice(name) for name in columns}
        rows = max(tensor.get_shape()[0] for tensor in tensors.values())
        for start in range(0, rows, ROWS_AT_ONCE):
            block = {name: tensor[start : start + ROWS_AT_ONCE] for name, tensor in tensors.items()}
            yield {name: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for name, x in block.items()}


def _of_parquet(path: Path, columns: list[str]) -> Iterator[dict[str, np.ndarray]]:
    with extra("language"):
        import pyarrow.parquet  # only here: other shards do not pay for loading it

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            block = {}
            for name in columns:
                values = batch.column(name)
                is_list = pyarrow.types.is_fixed_size_list(values.type)
                block[name] = (values.flatten() if is_list else values).to_numpy(zero_copy_only=False)
                if is_list:
                    block[name] = block[name].reshape(-1, values.type.list_size)
            yield block
