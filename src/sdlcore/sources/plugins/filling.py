"""Fill activation stores from a plugin's source."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdlcore.data.writing import resume_store
from sdlcore.errors import SourceError
from sdlcore.identity import provenance
from sdlcore.plugins.registry import registered
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
    declared = [bool(extension.facts["target"]), bool(classes)]
    for split, path, samples in (("train", train, source.train_samples), ("test", test, source.test_samples)):
        facts = provenance(source=source.to_dict(), split=split, plugins=source.plugins)
        blocks = extension.implementation(split, stream(0, "plugin", split), **(source.model_extra or {}))
        most = -1
        with resume_store(path, facts, source.dtype) as store:
            for values in blocks:
                block = values if isinstance(values, Rows) else Rows(values)
                found = [block.target is not None, block.labels is not None]
                if found != declared:
                    raise SourceError(
                        f"source {source.source}: declares target {declared[0]} and labels {declared[1]}, but yields "
                        f"target {found[0]} and labels {found[1]}; change the decorator or the sdl.Rows"
                    )
                rows_left = None if samples is None else samples - store.rows
                x, target, labels = (None if column is None else np.asarray(column)[:rows_left] for column in block)
                assert x is not None, "blocks have an input"
                store.append(x, target, labels=labels)
                most = most if labels is None else max(most, int(labels.max(initial=-1)))
                if store.rows == samples:
                    break
            if samples is not None and store.rows < samples:
                short = f"{store.rows} samples for {split}, expected {split}_samples = {samples}"
                raise SourceError(f"source {source.source}: {short}")
            if classes:
                store.class_names = [str(number) for number in range(most + 1)] if classes is True else classes
                if most >= len(store.class_names):
                    raise SourceError(f"source {source.source}: label {most}, but it declares {len(classes)} classes")
