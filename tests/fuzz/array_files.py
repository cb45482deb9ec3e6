"""Array files in every supported format, plain or odd, and other files in their place."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.fuzz.cases import choose, put
from tests.fuzz.hdf5_files import hdf5
from tests.fuzz.made import Made, values


def _any(rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return an array of some type and rank, and whether it could contain activations."""
    x = values(rng)
    if rng.random() < 0.6:
        return x.astype(choose(rng, "<f2", "<f4", "<f8", ">f4", ">f8")), True
    odd: list[Any] = [
        *(x.astype("i4"), x > 0, x.astype("c8"), x.astype("U5"), x.astype("S5"), x.astype("M8[s]")),
        *(x.astype("longdouble"), np.zeros((0, 3), "f4"), np.zeros((3, 0), "f4"), np.float32(1.5), x[0], x[:1]),
        *(x[None], x.astype(object), np.zeros(4, [("a", "f4"), ("b", "i4")])),
    ]
    return np.asarray(choose(rng, *odd)), False


def npy(rng: np.random.Generator, folder: Path) -> Made:
    path = folder / "x.npy"
    array, plain = _any(rng)
    if rng.random() < 0.2:
        array = np.asfortranarray(array)
    version = choose(rng, (1, 0), (1, 0), (2, 0), (3, 0))
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version)
    what = f"npy {version[0]} of {array.dtype} {array.shape}"
    # numpy uses version 3 only for field names that are not Latin, which plain arrays do not have
    return what, path, None, lambda: np.load(path, allow_pickle=False), plain and version != (3, 0)


def npy_header(rng: np.random.Generator, folder: Path) -> Made:
    """A header written by hand, which numpy evaluates."""
    header = choose(
        rng,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2.0), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 2), }",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
        "{'descr': [('a', '<f4', (2,))], 'fortran_order': False, 'shape': (2, 2), }",
        "{'descr': 'no type', 'fortran_order': False, 'shape': (2, 2), }",
        "{'descr': ['<f4'], 'fortran_order': False, 'shape': (2, 2), }",
        "{'descr': {'names': ()}, 'fortran_order': False, 'shape': (2, 2), }",
        "(" * 5000 + ")" * 5000,
        "[" * 90 + "]" * 90,
        "-" * 9000 + "1",
        "{" + "1:" * 3000,
        "__import__('os').getcwd()",
        "",
        "\x00\x00",
        "{'descr': '<f4', 'fortran_order': False, 'shape': " + "9" * 5000 + ", }",
    )
    path = folder / "x.npy"
    version = choose(rng, 1, 2, 3)
    encoded = header.encode("latin-1")
    length = len(encoded) if rng.random() < 0.9 else choose(rng, 0, 7, 60000)
    size = struct.pack("<H" if version == 1 else "<I", min(length, 65535))
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + size + encoded + rng.bytes(16))
    return (
        f"npy {version} with the header {header[:50]!r}",
        path,
        None,
        lambda: np.load(path, allow_pickle=False),
        False,
    )


def npz(rng: np.random.Generator, folder: Path) -> Made:
    path = folder / "x.npz"
    method = choose(rng, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    array, plain = _any(rng)
    fortran = rng.random() < 0.15
    name = choose(rng, "x", "x", "x", "a/b", "ä", "..", "x y", "x#y", "")
    with zipfile.ZipFile(path, "w", method) as archive:
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.asfortranarray(array) if fortran else array)
        archive.writestr(f"{name}.npy", stream.getvalue())
        if rng.random() < 0.1:
            archive.writestr("other.npy", stream.getvalue())
        if rng.random() < 0.1:
            archive.writestr("read me.txt", "nothing")
    if rng.random() < 0.08:
        content = bytearray(path.read_bytes())  # the flag of an encrypted member, in either place
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(signature) + offset] |= 1
        path.write_bytes(content)
        return "npz with an encrypted member", path, name, None, False
    what = f"npz ({method}{', Fortran order' if fortran else ''}) of {array.dtype} {array.shape} as {name!r}"

    def read() -> np.ndarray:
        with np.load(path, allow_pickle=False) as file:
            return file[name]

    return what, path, name, read, plain and name == "x" and not (fortran and array.ndim > 1)


def safetensors(rng: np.random.Generator, folder: Path) -> Made:
    """Written by hand, because the library refuses to write most of these."""
    path = folder / "x.safetensors"
    x = values(rng, "<f4")
    entry: dict[str, Any] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [0, x.nbytes]}
    header: Any = {"x": entry}
    plain = rng.random() < 0.3
    what = "plain"
    if not plain:
        key, content = choose(
            rng,
            ("dtype", choose(rng, "BF16", "F16", "F64", "F8_E4M3", "C64", "", 3, None, [])),
            (
                "shape",
                choose(rng, ["2"], [-2, 4], [2.0, 2], [10**18, 4], [10**30], "", 4, None, [[2]], [True, True], {}),
            ),
            (
                "data_offsets",
                choose(rng, [0], [0, 8, 9], [4, 2], [-4, 4], ["0", "8"], [0, 10**20], None, 0, [0.0, 8.0]),
            ),
            ("missing", choose(rng, "dtype", "shape", "data_offsets")),
            ("whole", choose(rng, [], 3, None, "x", {"x": 3}, {"x": []}, {}, {"__metadata__": 3, "x": entry})),
            ("deep", 100_000),
            ("again", None),
        )
        what = f"{key} {str(content)[:30]}"
        if key == "whole":
            header = content
        elif key == "missing":
            del entry[content]
        elif key in entry:
            entry[key] = content
    text = json.dumps(header)
    if what.startswith("deep"):
        text = "[" * 100_000
    if what.startswith("again"):
        text = text[:-1] + ', "x": ' + json.dumps({**entry, "shape": [1, 1], "data_offsets": [0, 4]}) + "}"
    encoded = text.encode() if rng.random() < 0.95 else b'{"\xff": 3}'
    length = len(encoded)
    if not plain and rng.random() < 0.1:
        length = choose(rng, 0, 2**63, 2**40, length - 1)
    plain = plain and encoded[:3] != b'{"\xff'
    path.write_bytes(length.to_bytes(8, "little") + encoded + x.tobytes())

    def read() -> np.ndarray:
        if entry.get("dtype") == "BF16":
            raw = path.read_bytes()[8 + len(encoded) :]
            return (np.frombuffer(raw, "<u2").astype("u4") << 16).view("f4").reshape(entry["shape"])
        return load_file(path)["x"]

    return f"safetensors, {what}", path, choose(rng, "x", None), read, plain


def paths(rng: np.random.Generator, folder: Path) -> Made:
    """A path that is no regular file of a known type, or has an odd name."""
    suffix = choose(rng, ".npy", ".npz", ".h5", ".safetensors")
    path = folder / f"x{suffix}"
    kind = choose(rng, "missing", "folder", "pipe", "link to itself", "dangling", "empty", "text", "pickle", "odd name")
    put(kind, path)
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("1.0 2.0\n3.0 4.0\n")
    elif kind == "pickle":
        path.write_bytes(b"\x80\x04K*." if rng.random() < 0.5 else b"cos\nsystem\n(S'touch pwned'\ntR.")
    elif kind == "odd name":
        path = folder / choose(
            rng, "a b.npy", "ä.npy", "a\nb.npy", "a'b.npy", "{a}.npy", "a\udcff.npy", "x.NPY", "x.csv"
        )
        np.save(path.open("wb"), values(rng))
    return f"{kind} {suffix}", path, None, (lambda: np.load(path)) if kind == "odd name" else None, False


def labels(rng: np.random.Generator, folder: Path) -> tuple[str, dict[str, str]]:
    """Write labels and class names that may or may not fit an array; return a description and the settings."""
    path = folder / "labels.npy"
    rows = int(rng.integers(2, 40))
    kind = choose(rng, "i8", "i4", "u1", "u8", "f4", "?", "too large", "negative", "empty")
    values = rng.integers(0, 3, rows)
    if kind == "too large":
        values = np.full(rows, choose(rng, 2**31, 2**62, 7))
    elif kind == "negative":
        values = values - 2
    elif kind != "empty":
        values = values.astype(kind)
    np.save(path, values[:0] if kind == "empty" else values)
    settings = {"labels": str(path)}
    if rng.random() < 0.6:
        content = choose(
            rng,
            b"a\nb\nc\n",
            b"",
            b"\n\n",
            b"\xff\xfe",
            b"a\x00\nb\nc",
            b"a\na\na\n",
            b'["a", "b", "c"]',
            b'{"a": 1}',
            b"[" * 100_000,
            b"[1, 2]",
            b'["\\ud800", "b", "c"]',
        )
        names = folder / choose(rng, "classes.txt", "classes.json")
        names.write_bytes(content)
        settings["class_names"] = str(names)
        kind += f" with {names.name} {content[:20]!r}"
    return kind, settings


MAKERS = (npy, npy, npy_header, npz, npz, hdf5, hdf5, hdf5, safetensors, safetensors, paths)
"""Makers, repeated by the share of cases that each should get."""
