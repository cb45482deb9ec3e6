"""Helpers for tests of activation stores."""

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import resume_store


def contents(path: Path) -> dict[str, Any]:
    """Return every dataset with its type and layout, and every attribute, of an HDF5 file."""
    items: dict[str, Any] = {}
    with h5py.File(path) as file:

        def look(name: str, item: Any) -> None:
            items.update({f"{name}@{key}": np.asarray(value).tolist() for key, value in item.attrs.items()})
            if isinstance(item, h5py.Dataset):
                values = item[()]
                content = values.tolist() if values.dtype.hasobject else hashlib.sha256(values.tobytes()).hexdigest()
                items[name] = (item.dtype, item.shape, item.chunks, item.maxshape, content)
            else:
                items[name] = sorted(item)

        look("", file)
        file.visititems(look)
    return items


def write_store(
    path: Path, input: Any, target: Any = None, *, dtype: str = "float32", class_names: Any = None, **more: Any
) -> None:
    """Write a store with one block of samples and without provenance."""
    with resume_store(path, {}, dtype, class_names) as writer:
        writer.append(input, target, **more)


def verify(path: Path) -> None:
    """Read a whole store; `StoreError` if a checksum of HDF5 finds damage."""
    with ActivationStore(path) as store:
        for column in store.columns():
            store.read(column)
        store.class_names()
        store.features()
