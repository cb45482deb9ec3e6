"""Settings of a source of activations that lie in files, and how they name an array: ``path``, or ``path#key`` where a
file holds several. Without numpy: configurations are checked by them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from annotated_types import Gt, Lt

from sdlcore.errors import SourceError
from sdlcore.settings import FromJson, StoredPrecision, Text, check

FORMATS = (".npy", ".npz", ".h5", ".hdf5", ".safetensors")


class ArrayReference(NamedTuple):
    """An array in a file."""

    path: str
    key: str | None
    """Its name in the file, None for the only one."""


def parse_array(reference: str) -> ArrayReference:
    """Return the parts of ``path`` or ``path#key``."""
    path, separator, key = reference.partition("#")
    return ArrayReference(path, key if separator else None)


@dataclass(frozen=True)
class FileSource(FromJson):
    """Activations that lie in files."""

    input: Text
    """Samples x dimension, as path of an .npy, .npz, .h5, .hdf5 or .safetensors file, with #key where it holds several
    arrays."""
    target: Text | None = None
    """The same samples' second representation, the target of transcoders and second site of crosscoders."""
    labels: Text | None = None
    """The class of each sample: an integer from 0 on, or -1 for none; or its name, empty for none."""
    class_names: Text | None = None
    """Names of the classes, a text file with one a line or a JSON file with a list; without it, their labels."""
    test_input: Text | None = None
    """Samples for evaluation; None to hold out test_share of the rows instead."""
    test_target: Text | None = None
    """The target of test_input."""
    test_labels: Text | None = None
    """The labels of test_input."""
    test_share: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the rows that is held out, the same ones always."""
    dtype: StoredPrecision = "float32"
    """Precision that the activations are stored in."""

    def __post_init__(self) -> None:
        check(self)
        for key, problem in self.inconsistencies():
            raise SourceError(f"{key}: {problem}")

    @property
    def arrays(self) -> dict[str, str]:
        """The arrays that are named, by their keys."""
        keys = ("input", "target", "labels", "test_input", "test_target", "test_labels")
        return {key: reference for key in keys if (reference := getattr(self, key)) is not None}

    @property
    def files(self) -> list[str]:
        """The files that are named, each once."""
        names = [] if self.class_names is None else [self.class_names]
        return list(dict.fromkeys([*(parse_array(reference).path for reference in self.arrays.values()), *names]))

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that does not go with the others."""
        given = self.arrays
        for key, reference in given.items():
            if not parse_array(reference).path.endswith(FORMATS):
                yield key, f"{reference}: expected a file of type {', '.join(FORMATS)}, with #key if needed"
        if self.test_input == self.input:
            yield "test_input", "is input, too; leave it out and set test_share, which training does not see"
        for key in ("target", "labels"):
            if "test_input" in given and (key in given) != (f"test_{key}" in given):
                missing = f"test_{key}" if key in given else key
                yield missing, f"missing; with test_input, {key} and test_{key} go together"
            elif f"test_{key}" in given and "test_input" not in given:
                yield f"test_{key}", "has no meaning without test_input"
        if self.class_names is not None and self.labels is None:
            yield "class_names", "has no meaning without labels"
