"""Settings of activations from files, and references to arrays: ``path``, or ``path#key`` for one of several arrays.

The module does not import numpy, so that checking a configuration is fast."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from annotated_types import Gt, Lt

from sdlcore.errors import SourceError
from sdlcore.settings import AsGiven, Settings, StoredPrecision, Text

FORMATS = (".npy", ".npz", ".h5", ".hdf5", ".safetensors")


class ArrayReference(NamedTuple):
    """Reference to an array in a file."""

    path: str
    key: str | None
    """Name of the array in the file; None for the only array."""


def parse_array(reference: str) -> ArrayReference:
    """Parse ``path`` or ``path#key``."""
    path, separator, key = reference.partition("#")
    return ArrayReference(path, key if separator else None)


class FileSource(Settings):
    """Activations from files."""

    input: Text
    """Samples x dimension: path of an .npy, .npz, .h5, .hdf5 or .safetensors file, with #key if it contains several
    arrays."""
    target: Text | None = None
    """Second representation of the same samples, the target of transcoders and second site of crosscoders."""
    labels: Text | None = None
    """Class of each sample: an integer from 0 on, or -1 for none; or a name, empty for none."""
    class_names: Text | None = None
    """Names of the classes: a text file with one per line, or a JSON list; None to use the labels as names."""
    test_input: Text | None = None
    """Evaluation samples; None to hold out test_share of the rows instead."""
    test_target: Text | None = None
    """Target of test_input."""
    test_labels: Text | None = None
    """Labels of test_input."""
    test_share: Annotated[float, Gt(0), Lt(1), AsGiven] = 0.1
    """Share of rows to hold out, a fixed random choice."""
    dtype: StoredPrecision = "float32"
    """Precision of the activation stores."""

    def check_together(self) -> None:
        for key, problem in self.inconsistencies():
            raise SourceError(f"{key}: {problem}")

    @property
    def arrays(self) -> dict[str, str]:
        """References to arrays by settings key, without missing ones."""
        keys = ("input", "target", "labels", "test_input", "test_target", "test_labels")
        return {key: reference for key in keys if (reference := getattr(self, key)) is not None}

    @property
    def files(self) -> list[str]:
        """The paths of all files of the source, each once."""
        names = [] if self.class_names is None else [self.class_names]
        return list(dict.fromkeys([*(parse_array(reference).path for reference in self.arrays.values()), *names]))

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that contradicts others."""
        arrays = self.arrays
        for key, reference in arrays.items():
            if not parse_array(reference).path.endswith(FORMATS):
                yield key, f"{reference}: expected a file of type {', '.join(FORMATS)}, with #key if needed"
        if self.test_input == self.input:
            yield "test_input", "is the same as input; leave it out and set test_share to hold out samples"
        for key in ("target", "labels"):
            if "test_input" in arrays and (key in arrays) != (f"test_{key}" in arrays):
                missing = f"test_{key}" if key in arrays else key
                yield missing, f"missing; with test_input, {key} needs test_{key} and the reverse"
            elif f"test_{key}" in arrays and "test_input" not in arrays:
                yield f"test_{key}", "has no meaning without test_input"
        if self.class_names is not None and self.labels is None:
            yield "class_names", "has no meaning without labels"
