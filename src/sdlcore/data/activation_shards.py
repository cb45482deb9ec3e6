"""Read activations that another engine wrote as shards, into a store.

A folder holds safetensors or Parquet files and a manifest.json, which docs/activations.md describes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdlcore.data.layout import DTYPES
from sdlcore.data.reading import ActivationStore
from sdlcore.data.resumable import Progress, resume_store
from sdlcore.errors import SourceError
from sdlcore.extras import extra
from sdlcore.identity import identity, provenance, require_same
from sdlcore.settings import Json
from sdlcore.storage.external_json import Settings, read_object
from sdlcore.storage.files import sha256_of
from sdlcore.storage.parsing import parsing
from sdlcore.storage.paths import user_path
from sdlcore.text import short_text

MANIFEST = "manifest.json"
FORMAT, VERSION = "activation shards", 1
ROWS_AT_ONCE = 8192
ENDINGS = (".safetensors", ".parquet")


class Shard(NamedTuple):
    """A file of consecutive rows."""

    path: Path
    rows: int
    sha256: str | None
    """Checksum of the file, where the manifest has one."""


@dataclass(frozen=True)
class Manifest:
    """The content of a folder of shards."""

    path: Path
    dtype: str
    widths: dict[str, int]
    """Dimensions of ``input`` and, where there is one, ``target``."""
    numbers: tuple[str, ...]
    """Columns of one whole number a row: ``labels``, and references."""
    shards: tuple[Shard, ...]
    made_by: Json
    """JSON of the other engine, for provenance."""

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Return the manifest of a folder.

        Raises
        ------
        SourceError
            Naming the key that is missing or has another value than expected, or a shard that is not there.
        """
        path = folder / MANIFEST
        with parsing(path, "a manifest of activation shards"):
            content = Settings(path, read_object(path))
        content.choice("format", [FORMAT], "")
        if content.count("version") != VERSION:
            raise content.refused("version", str(VERSION))
        columns = content.section("columns")
        if not {"input"} <= columns.values.keys() <= {"input", "target"}:
            raise content.refused("columns", "input, and target if there is one")
        sites = {name: columns.section(name) for name in columns.values}
        dtypes = {site.choice("dtype", DTYPES, "") for site in sites.values()}
        if len(dtypes) > 1:
            raise SourceError(f"{path}: columns have the precisions {', '.join(sorted(dtypes))}, expected one for all")
        numbers = content.values.get("numbers", [])
        if not isinstance(numbers, list) or not all(isinstance(name, str) and name not in sites for name in numbers):
            raise content.refused("numbers", "a list of names of columns of whole numbers")
        shards = content.values.get("shards")
        if not isinstance(shards, list) or not shards or not all(isinstance(one, dict) for one in shards):
            raise content.refused("shards", "a list of objects with file and rows")
        shard_files = tuple(
            _shard(folder, Settings(path, one, f"shards[{number}].")) for number, one in enumerate(shards)
        )
        if len({shard.path for shard in shard_files}) < len(shard_files):
            raise content.refused("shards", "each file of shards once")
        widths = {name: site.count("width") for name, site in sites.items()}
        return cls(path, dtypes.pop(), widths, tuple(numbers), shard_files, content.values.get("made_by"))


def _shard(folder: Path, entry: Settings) -> Shard:
    name = entry.text("file")
    if Path(name).name != name or not name.endswith(ENDINGS):  # nothing outside the folder is read
        raise entry.refused("file", f"the name of a file in the folder that ends in {' or '.join(ENDINGS)}")
    if not (folder / name).is_file():
        raise SourceError(f"{entry.where}: {entry.within}file is {name}, which is not in the folder; fetch it again")
    return Shard(folder / name, entry.count("rows"), entry.text("sha256") if "sha256" in entry else None)


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
    manifest, path = Manifest.read(user_path(folder, "folder")), user_path(out, "out")
    shards = {shard.path.name: shard.sha256 or sha256_of(shard.path) for shard in manifest.shards}
    run = identity("activations", {}, inputs={"manifest": sha256_of(manifest.path), "shards": shards})
    facts = provenance(identity=run, made_by=manifest.made_by)
    if path.exists():
        store = ActivationStore(path)
        try:
            require_same(path, store.provenance, facts)
        except ValueError:
            store.close()
            raise
        return store
    with resume_store(path, facts, dtype=manifest.dtype) as writer:
        for number in range(writer.state(Progress()).next, len(manifest.shards)):
            shard = manifest.shards[number]
            if shard.sha256 is not None and sha256_of(shard.path) != shard.sha256:
                raise SourceError(f"{shard.path}: does not fit its checksum in {MANIFEST}; fetch it again")
            for block in _blocks(shard, manifest):
                writer.append(
                    block.pop("input"),
                    block.pop("target", None),
                    block.pop("labels", None),
                    references=block or None,
                )
            writer.commit(Progress(next=number + 1))
    return ActivationStore(path)


def _blocks(shard: Shard, manifest: Manifest) -> Iterator[dict[str, np.ndarray]]:
    """Yield the columns of a shard in blocks of rows, as NumPy arrays; bfloat16 is converted to float32."""
    read = _of_safetensors if shard.path.suffix == ".safetensors" else _of_parquet
    widths, rows = {**manifest.widths, **dict.fromkeys(manifest.numbers)}, 0
    with parsing(shard.path, "a shard of activations"):
        for block in read(shard.path, tuple(widths)):
            for name, width in widths.items():
                shape = block[name].shape
                if shape[1:] != (() if width is None else (width,)):
                    each = "one number" if width is None else f"{width} numbers"
                    raise SourceError(f"{shard.path}: {short_text(name)} has the shape {shape}, expected {each} a row")
            rows += len(block["input"])
            yield block
    if rows != shard.rows:
        raise SourceError(f"{shard.path}: has {rows} rows, but {MANIFEST} says {shard.rows}")


def _of_safetensors(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, np.ndarray]]:
    import torch  # only here: numpy does not know bfloat16
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensors: dict[str, Any] = {name: file.get_slice(name) for name in columns}
        lengths = {name: tensor.get_shape()[0] for name, tensor in tensors.items()}
        if len(set(lengths.values())) > 1:
            raise SourceError(f"{path}: columns differ in their number of rows: {short_text(lengths)}")
        rows = lengths["input"]
        for start in range(0, rows, ROWS_AT_ONCE):
            slices = {name: tensor[start : min(start + ROWS_AT_ONCE, rows)] for name, tensor in tensors.items()}
            yield {name: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for name, x in slices.items()}


def _of_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, np.ndarray]]:
    with extra("language"):
        import pyarrow.parquet  # only here: other shards do not pay for loading it

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns)):
            block = {}
            for name in columns:
                values = batch.column(name)
                if pyarrow.types.is_fixed_size_list(values.type):
                    width = values.type.list_size
                    block[name] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
                else:
                    block[name] = values.to_numpy(zero_copy_only=False)
            yield block
