"""Download models and data sets from the Hugging Face hub.

The hub's own client downloads all files, so its environment variables apply: HF_TOKEN (access), HF_HOME (cache),
HF_HUB_OFFLINE, HF_ENDPOINT (a mirror). Code in a model or a data set is never run.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.utils import disable_progress_bars

from sdlcore.errors import SourceError
from sdlcore.extraction.text import SET_COLUMN
from sdlcore.extras import extra
from sdlcore.storage.parsing import read_object

log = logging.getLogger(__name__)

MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model")


def model_config(name: str, revision: str | None) -> dict:
    """Return the configuration of a model at the hub, without downloading its weights."""
    path = snapshot(name, revision, ["config.json"]) / "config.json"
    if not path.is_file():
        raise SourceError(f"{name}: the hub's repository lacks config.json, so it is no model of transformers")
    return read_object(path)


def model_snapshot(name: str, revision: str | None) -> Path:
    """Return the folder in the hub's cache with a model's configuration, tokenizer and safetensors.

    The folder's name is the commit.
    """
    # folders in a repository hold the same weights in other formats
    return snapshot(name, revision, MODEL_FILES, ignore_patterns=["*/*"])


def snapshot(name: str, revision: str | None, patterns: Sequence[str], advice: str = "", **options: Any) -> Path:
    """Return the folder in the hub's cache with the files of a repository that match patterns.

    Missing files are downloaded. ``advice`` ends an error. ``options`` are passed to
    `huggingface_hub.snapshot_download`.
    """
    log.info("%s: fetching missing files", name)
    disable_progress_bars()
    with hub_errors(name, advice):
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns), **options))


def dataset_commit(name: str, revision: str | None) -> str:
    """Return the commit of a data set's revision, or the newest commit if ``revision`` is None."""
    with hub_errors(name):
        return str(HfApi().dataset_info(name, revision=revision).sha)


def dataset_texts(
    name: str, config: str | None, split: str, commit: str, column: str, buffer: int, seed: int
) -> Iterator[str]:
    """Stream the texts of a data set, shuffled by `datasets` with a buffer and ``seed``.

    Raises
    ------
    SourceError
        If the configuration, split or column does not exist, or the hub cannot be reached.
    """
    with extra("language"):
        import datasets  # imported here, since the import takes seconds

    datasets.disable_progress_bars()
    with hub_errors(name):
        rows = datasets.load_dataset(name, config, split=split, streaming=True, revision=commit)
        for row in rows.shuffle(seed=seed, buffer_size=buffer) if buffer > 1 else rows:
            if not isinstance(row.get(column, 0), str | None):
                raise SourceError(f"{name}: has no text in column {column!r}, only {', '.join(row)}; {SET_COLUMN}")
            yield row[column] or ""


@contextmanager
def hub_errors(name: str, advice: str = "") -> Iterator[None]:
    """Name the repository in errors of the hub's client and of readers of its files."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # readers of broken files raise nearly anything
        message = " ".join(str(error).split())
        raise SourceError(
            f"{name}: no such path on this machine, and the hub does not provide it: {type(error).__name__}: {message}"
            f"{advice and '; ' + advice}"
        ) from error
