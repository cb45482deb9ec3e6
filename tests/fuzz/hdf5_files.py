"""HDF5 files with an array `x`, plain, or with other objects that the format allows in its place."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzz.cases import choose
from tests.fuzz.made import Made, values


def _hdf5_odd(file: h5py.File, rng: np.random.Generator, x: np.ndarray) -> tuple[str, bool | None]:
    """Put something odd at `x`; return a description, and whether it has values (None if a linked file is missing)."""
    kind = int(rng.integers(15))
    other = Path(file.filename).with_name("other.h5")
    if kind == 0:
        layout = h5py.VirtualLayout(x.shape, "f4")
        exists = bool(rng.random() < 0.5)
        if exists:
            with h5py.File(other, "w") as source:
                source["x"] = x
        layout[: len(x) // 2] = h5py.VirtualSource("other.h5", "x", x.shape)[: len(x) // 2]
        if exists and rng.random() < 0.5:
            layout[len(x) // 2 :] = h5py.VirtualSource("other.h5", "x", x.shape)[len(x) // 2 :]
            file.create_virtual_dataset("x", layout)
            return "virtual, of another file", True
        file.create_virtual_dataset("x", layout)
        return "virtual, of sources that lack rows", None
    if kind == 1:
        with h5py.File(other, "w") as source:
            source["y"] = x
        file["x"] = h5py.ExternalLink("other.h5" if rng.random() < 0.6 else "missing.h5", choose(rng, "y", "y", "z"))
        return "an external link", True
    if kind == 2:
        file["x"] = h5py.SoftLink(choose(rng, "/x", "/nowhere", "/group/y", "/"))
        file["group/y"] = x
        return "a soft link", True
    if kind == 3:
        raw = Path(file.filename).with_name("raw.bin")
        if exists := bool(rng.random() < 0.5):
            raw.write_bytes(x.astype("<f4").tobytes())
        file.create_dataset("x", x.shape, "<f4", external=[("raw.bin", 0, h5py.h5f.UNLIMITED)])
        return "with raw data in another file", True if exists else None
    if kind == 4:
        file.create_dataset("x", x.shape, "f4", chunks=True)
        return "never written", None
    if kind == 5:
        file.create_dataset("x", x.shape, "f4", fillvalue=2.5)
        return "never written, with a fill value", None
    odd: list[Any] = [
        ("of strings", [["a", "b"], ["c", "d"]], h5py.string_dtype()),
        ("of sequences", None, h5py.vlen_dtype(np.float32)),
        ("of references", None, h5py.ref_dtype),
        ("of choices", np.zeros((2, 2), "i1"), h5py.enum_dtype({"A": 0, "B": 1}, "i1")),
        ("of records", np.zeros(3, [("a", "f4")]), None),
        ("of small arrays", np.zeros((4, 2), "f4"), np.dtype(("f4", (2,)))),
        ("of nothing", h5py.Empty("f4"), None),
        ("opaque", None, np.dtype("V8")),
        ("of bits", x.astype("u2"), None),
    ]
    what, content, dtype = odd[kind - 6]
    if content is None or what == "of small arrays":
        file.create_dataset("x", (4, 2), dtype)
    else:
        file.create_dataset("x", data=content, dtype=dtype)
    if what == "of bits":
        file["x"].attrs["dtype"] = choose(rng, "bfloat16", "float8", 3)
    return what, True


def hdf5(rng: np.random.Generator, folder: Path) -> Made:
    path = folder / choose(rng, "x.h5", "x.hdf5")
    x = values(rng, choose(rng, "<f2", "<f4", "<f8", ">f4"))
    with h5py.File(path, "w", userblock_size=choose(rng, 0, 0, 0, 512)) as file:
        if rng.random() < 0.55:
            what, has_values = _hdf5_odd(file, rng, x)
            plain = False
        else:
            options = choose(
                rng,
                {},
                {"chunks": True, "maxshape": (None, None)},
                {"chunks": True, "compression": "gzip", "shuffle": True},
                {"chunks": True, "compression": "lzf"},
                {"chunks": True, "fletcher32": True},
            )
            file.create_dataset("x", data=x, **options)
            what, has_values, plain = f"of {x.dtype} with {options}", True, True
        if rng.random() < 0.1:
            file["deep/er/y"] = x
        if rng.random() < 0.1:
            file["cycle"] = h5py.SoftLink("/")

    def read() -> np.ndarray:
        with h5py.File(path) as file:
            dataset = file["x"]
            if dataset.dtype == np.uint16 and dataset.attrs.get("dtype") == "bfloat16":
                return (dataset[()].astype("u4") << 16).view("f4")
            return dataset[()]

    return f"HDF5 {what}", path, "x", read if has_values else None, plain
