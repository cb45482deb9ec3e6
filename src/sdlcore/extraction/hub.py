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

log = logging.getLogger(__name__)


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
