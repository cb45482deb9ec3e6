"""Array files that are damaged, incomplete, or contain no activations: each gives one error, and no wrong rows."""

import os
import zipfile
from io import BytesIO

import h5py
import numpy as np
import pytest
from numpy.lib import format as npy
from safetensors.numpy import save

from sdlcore.errors import SourceError
from sdlcore.sources.files.arrays import open_array
from sdlcore.sources.files.copying import write_file_stores
from sdlcore.sources.files.settings import FileSource

X = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)


def as_npy(values, version=None):
    file = BytesIO()
    npy.write_array(file, np.asanyarray(values), version)
    return file.getvalue()


def zipped(content=None):
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", as_npy(X) if content is None else content)
    return file.getvalue()


class Exploding:
    def __reduce__(self):
        return print, ("executed",)


OBJECTS = np.array([[Exploding()]], dtype=object)
BYTES = {
    "npy: pickled objects": (as_npy(OBJECTS), "Python objects"),
    "npy: cut off": (as_npy(X)[:-1], "not readable"),
    "npy: complex": (as_npy(X.astype(complex)), "contains complex128 .*, but input needs"),
    "npy: whole numbers": (as_npy(X.astype(int)), "contains int64 .*, but input needs"),
    "npy: one number": (as_npy(np.float32(1)), r"of shape \(\)"),
    "npy: no columns": (as_npy(X[:, :0]), r"of shape \(500, 0\)"),
    "npz: pickled objects": (zipped(as_npy(OBJECTS)), "Object arrays cannot be loaded"),
    "npz: cut off": (zipped()[:-300], "not readable"),
    "h5: empty": (b"", "not readable as .h5"),
    "safetensors: cut off": (save({"x": X})[:-1], "not readable"),
    "safetensors: truth": (save({"x": X > 0}), "contains bool .*, but input needs"),
}


def assert_refused(path, message, key=""):
    """Check that a source rejects a file by name, in one line, without writing a store."""
    with pytest.raises(SourceError, match=rf"{path.name}.*({message})"):
        write_file_stores(FileSource(f"{path}{key}"), path.with_name("train.h5"), path.with_name("test.h5"))
    assert not path.with_name("train.h5").exists()


@pytest.mark.parametrize("what", BYTES)
def test_a_file_that_holds_no_activations_is_refused_in_a_sentence_with_its_name(tmp_path, capfd, what):
    name, (content, message) = f"x.{what.partition(':')[0]}", BYTES[what]
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, message)
    assert "executed" not in capfd.readouterr().out


def virtual(file):
    layout = h5py.VirtualLayout((450, 6), "f4")
    layout[:221] = h5py.VirtualSource("other.h5", "x", (221, 6))
    file.create_virtual_dataset("x", layout)


def half_written(file):
    file.create_dataset("x", (500, 6), "f4", chunks=(100, 6))[:200] = X[:200]


HDF5 = {
    "data of another file": (virtual, "", "outside the file"),
    "raw data elsewhere": (lambda file: file.create_dataset("x", (4, 6), "f4", external="raw"), "", "outside the file"),
    "a link out": (lambda file: file.update(x=h5py.ExternalLink("other.h5", "x")), "#x", "outside the file"),
    "a dangling link": (lambda file: file.update(x=h5py.SoftLink("y")), "#x", "no array of that name"),
    "a group": (lambda file: file.create_dataset("g/x", data=X), "#g", "no array of that name, found g/x"),
    "no array": (lambda file: file.create_group("x"), "", "found none"),
    "half of the chunks": (half_written, "", "some of its 5 chunks"),
    "nothing": (lambda file: file.create_dataset("x", data=h5py.Empty("f4")), "", r"of shape \(\)"),
    "texts": (lambda file: file.create_dataset("x", data=["a", "b"]), "", "contains object"),
}


@pytest.mark.parametrize("what", HDF5)
def test_hdf5_whose_data_lie_elsewhere_or_nowhere_or_are_no_numbers_is_refused(tmp_path, what):
    change, key, message = HDF5[what]
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = X[:221]
    (tmp_path / "raw").write_bytes(bytes(96))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        change(file)
    assert_refused(tmp_path / "x.h5", message, key)


@pytest.mark.parametrize("change", [lambda path: os.truncate(path, 5000), lambda path: os.utime(path, ns=(0, 1))])
def test_a_file_that_is_written_to_while_it_is_read_is_named(tmp_path, change):
    np.save(path := tmp_path / "x.npy", X)
    with open_array(str(path)) as array:
        np.testing.assert_array_equal(array.read(3, 5), X[3:5])
        change(path)
        with pytest.raises(SourceError, match=r"x\.npy: the file was changed while it was read; repeat the command"):
            array.read(490, 500)
