"""Compare the header of a GGUF file with the file itself, before transformers reads the file.

The libraries that read these files do not check them. They follow offsets in front of the data, let tensors share
bytes, count up to 2^64 past the end of the file, and draw random weights for missing blocks.
"""

import math
import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sdlcore.extras import extra
from sdlcore.storage.external_json import Settings
from sdlcore.text import short_text

with extra("language"):
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
"""Type of a value -> its format in `struct`."""
MOST_DIMENSIONS = 4
LONGEST_KEY = 2**16
BLOCK = re.compile(r"blk\.(\d{1,9})\.")


class Tensor(NamedTuple):
    """A tensor, as declared by the header."""

    name: str
    shape: tuple[int, ...]
    """Dimensions; the one that varies fastest comes first."""
    kind: int
    offset: int
    """Offset in bytes from the start of the data."""


class Header(NamedTuple):
    """The part of a GGUF file before the data."""

    values: dict[str, str | int | float | bool]
    """Key -> value; for an array, its length."""
    tensors: list[Tensor]
    end: int
    """Offset in bytes of the header's end."""


def check_header(path: Path) -> None:
    """Check the header of a GGUF file.

    Raises
    ------
    ValueError
        If the header cannot be read, tensors do not follow each other in the file, or their number or shapes disagree
        with the model's settings.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _Reader(file, size).header()
    alignment = header.values.get("general.alignment", 32)
    if isinstance(alignment, bool) or not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"general.alignment is {alignment!r}, expected a power of two")
    start = math.ceil(header.end / alignment) * alignment
    _check_places(header.tensors, start, alignment, size)
    _check_sizes(path, header)


def _check_places(tensors: list[Tensor], start: int, alignment: int, size: int) -> None:
    end, before = start, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        name, first = short_text(tensor.name), start + tensor.offset
        if tensor.kind not in list(GGMLQuantizationType):
            raise ValueError(f"tensor {name} has the unknown type {tensor.kind}")
        per_block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        if not tensor.shape or 0 in tensor.shape or tensor.shape[0] % per_block:
            raise ValueError(f"tensor {name} has shape {tensor.shape}, expected rows of {per_block}, or a multiple")
        if tensor.offset % alignment:
            raise ValueError(f"tensor {name} has offset {tensor.offset}, expected a multiple of {alignment}")
        if first < end:
            raise ValueError(f"tensor {name} overlaps tensor {before}")
        end, before = first + math.prod(tensor.shape) // per_block * block_bytes, name
        if end > size:
            raise ValueError(f"tensor {name} ends at byte {end}, but the file has {size}")


def _check_sizes(path: Path, header: Header) -> None:
    """Compare the sizes in the model's settings, which could claim billions, with the tensors."""
    architecture = header.values.get("general.architecture")
    values = {key.removeprefix(f"{architecture}."): value for key, value in header.values.items()}
    settings = Settings(path, values)
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    blocks = {int(match[1]) for name in shapes if (match := BLOCK.match(name))}
    expected = settings.count("block_count")
    if len(blocks) != expected or max(blocks) != expected - 1:
        raise ValueError(f"block_count is {expected}, but the file has tensors of {len(blocks)} blocks")
    embedding = shapes.get("token_embd.weight", ())
    tokens = settings.count("vocab_size" if "vocab_size" in settings else "tokenizer.ggml.tokens")
    if embedding != (width := settings.count("embedding_length"), tokens):
        raise ValueError(
            f"token_embd.weight has shape {embedding}, expected {(width, tokens)} by embedding_length and the "
            "number of tokens"
        )


class _Reader:
    """Reader of consecutive values that never reads past the end of the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._bytes_left = file, size

    def header(self) -> Header:
        """Return the header."""
        self._take(4)
        version = self._number("I")
        if version not in VERSIONS:
            raise ValueError(f"version {version} of GGUF is not supported")
        n_tensors, n_values = self._number("Q"), self._number("Q")
        values, tensors = {}, []
        for _ in range(n_values):
            key = self._text()
            if key in values:
                raise ValueError(f"the key {short_text(key)} occurs twice")
            values[key] = self._value(self._number("I"))
        for _ in range(n_tensors):
            name, dimensions = self._text(), self._number("I")
            if dimensions > MOST_DIMENSIONS:
                raise ValueError(f"tensor {short_text(name)} has {dimensions} dimensions")
            shape = tuple(self._number("Q") for _ in range(dimensions))
            tensors.append(Tensor(name, shape, self._number("I"), self._number("Q")))
        return Header(values, tensors, self._file.tell())

    def _value(self, kind: int) -> str | int | float | bool:
        if kind == STRING:
            return self._text(longest=None)
        if kind in SCALARS:
            return self._number(SCALARS[kind])
        if kind != ARRAY:
            raise ValueError(f"a value has the unknown type {kind}")
        kind, length = self._number("I"), self._number("Q")
        if kind == STRING:
            for _ in range(length):
                self._skip(self._number("Q"))
        elif kind in SCALARS:
            self._skip(length * struct.calcsize(f"<{SCALARS[kind]}"))
        else:
            raise ValueError(f"an array contains values of the unknown type {kind}")
        return length

    def _text(self, longest: int | None = LONGEST_KEY) -> str:
        length = self._number("Q")
        if longest is not None and length > longest:
            raise ValueError(f"a name has {length} bytes")
        return self._take(length).decode("utf-8")

    def _number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self._take(struct.calcsize(f"<{kind}")))[0]

    def _take(self, length: int) -> bytes:
        self._count(length)
        return self._file.read(length)

    def _skip(self, length: int) -> None:
        self._count(length)
        self._file.seek(length, 1)

    def _count(self, length: int) -> None:
        self._bytes_left -= length
        if self._bytes_left < 0:
            raise ValueError("the header is longer than the file")
