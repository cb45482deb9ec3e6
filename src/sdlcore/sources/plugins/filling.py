"""Fill activation stores from a plugin's source."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdlcore.data.writing import create_store
from sdlcore.errors import SourceError
from sdlcore.identity import provenance
from sdlcore.plugins.registry import Extension, registered
from sdlcore.random_streams import stream
from sdlcore.sources.plugins.settings import PluginSource


class Rows(NamedTuple):
    """A block of B samples."""

    input: np.ndarray
    """B x n_p."""
    target: np.ndarray | None = None
    """B x n_r; None if the source has no target."""
    labels: np.ndarray | None = None
    """Class of each sample (B), an integer from 0 on or -1 for none; None if the source has no labels."""

    def first(self, rows: int) -> "Rows":
        """Return the first ``rows`` samples."""
        target = None if self.target is None else self.target[:rows]
        return Rows(self.input[:rows], target, None if self.labels is None else self.labels[:rows])


def write_plugin_stores(source: PluginSource, train: Path, test: Path) -> None:
    """Write the training and the evaluation store of a plugin's source.

    Parameters
    ----------
    source
        The source with its settings.
    train, test
        Files to write.

    Raises
    ------
    SourceError
        If the source yields too few samples, or other columns or classes than it declares; the message names it.
    """
    extension = registered("source", source.source)
    assert extension is not None, f"{source.source} is registered"
    classes = extension.facts["labels"]
    for split, path, samples in (("train", train, source.train_samples), ("test", test, source.test_samples)):
        facts = provenance(source=source.to_dict(), split=split, plugins=source.plugins)
        with create_store(path, facts, source.dtype) as store:
            rows, most = 0, -1
            for block in _blocks(extension, source, split):
                part = block if samples is None else block.first(samples - rows)
                try:
                    store.append(part.input, target=part.target, labels=part.labels)
                except ValueError as error:
                    raise SourceError(f"source {source.source}: {error}") from error
                rows += len(part.input)
                most = most if part.labels is None else max(most, int(part.labels.max(initial=-1)))
                if rows == samples:
                    break
            if samples is not None and rows < samples:
                short = f"{rows} samples for {split}, expected {split}_samples = {samples}"
                raise SourceError(f"source {source.source}: {short}")
            if classes:
                store.class_names = [str(number) for number in range(most + 1)] if classes is True else classes
                if most >= len(store.class_names):
                    raise SourceError(f"source {source.source}: label {most}, but it declares {len(classes)} classes")


def _blocks(extension: Extension, source: PluginSource, split: str) -> Iterator[Rows]:
    """Yield the blocks of a split, after checking that they have the declared columns."""
    blocks = extension.implementation(split, stream(0, "plugin", split), **(source.model_extra or {}))
    for values in blocks:
        block = values if isinstance(values, Rows) else Rows(values)
        block = Rows(np.asarray(block.input), _array(block.target), _array(block.labels))
        for column in ("target", "labels"):
            if (getattr(block, column) is not None) != bool(extension.facts[column]):
                declared = "declares" if extension.facts[column] else "does not declare"
                raise SourceError(f"source {source.source}: {declared} {column}, but its blocks do the opposite")
        yield block


def _array(column: Any) -> np.ndarray | None:
    return None if column is None else np.asarray(column)
