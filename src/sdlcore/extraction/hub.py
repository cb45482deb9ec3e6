"""Download models and data sets from the Hugging Face hub: files, commits and errors.

The hub's own client downloads all files, so its environment variables apply: HF_TOKEN (access), HF_HOME (cache),
HF_HUB_OFFLINE, HF_ENDPOINT (a mirror). Only configuration, tokenizer and safetensors are downloaded. Code in a model or
a data set is never run.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars

from sdlcore.errors import SourceError
from sdlcore.extraction.text import SET_COLUMN
from sdlcore.extras import extra
from sdlcore.storage.external_json import read_object
from sdlcore.storage.parsing import describe_error

log = logging.getLogger(__name__)


def model_config(name: str, revision: str | None) -> dict:
    """Return the configuration of a model at the hub, without downloading its weights."""
    disable_progress_bars()
    with said_in_a_sentence(name, "model", revision):
        # hf_hub_download would try for 23 seconds to reach the hub
        path = Path(snapshot_download(name, revision=revision, allow_patterns="config.json")) / "config.json"
    if not path.is_file():
        raise SourceError(
            f"{name}: the hub's model lacks config.json, so it is no transformers model; correct the name"
        )
    return read_object(path)


def model_snapshot(name: str, revision: str | None) -> Path:
    """Return the folder in the hub's cache with a model's configuration, tokenizer and safetensors.

    Files are downloaded if needed. The folder's name is the commit.
    """
    log.info("%s: fetching missing files", name)
    disable_progress_bars()
    with said_in_a_sentence(name, "model", revision):
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model"],
            ignore_patterns=["*/*"],  # these are the same weights in other formats
        )
    return Path(folder)


def dictionary_snapshot(name: str, revision: str | None, patterns: Sequence[str], advice: str, **options: Any) -> Path:
    """Return the folder in the hub's cache with the files of a repository that match patterns.

    Files are downloaded if needed. ``advice`` ends the error for a repository that does not exist. ``options`` are
    passed to `huggingface_hub.snapshot_download`.
    """
    log.info("%s: fetching missing files", name)
    disable_progress_bars()
    with said_in_a_sentence(name, "model", revision, advice):
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns), **options))


def dataset_commit(name: str, revision: str | None) -> str:
    """Return the commit of a data set's revision, or the newest commit if ``revision`` is None."""
    with said_in_a_sentence(name, "data set", revision):
        commit = HfApi().dataset_info(name, revision=revision).sha
    if commit is None:
        raise SourceError(f"{name}: the hub does not return the commit of the data set; set text_revision to a commit")
    return commit


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
    with said_in_a_sentence(name, "data set", commit):
        try:
            rows = datasets.load_dataset(name, config, split=split, streaming=True, revision=commit)
        except ValueError as error:  # the message lists the configurations and splits
            raise SourceError(
                f"{name}: {error}; set text_config and text_split (in Python, config and split in text_options)"
            ) from error
        for row in rows.shuffle(seed=seed, buffer_size=buffer) if buffer > 1 else rows:
            if column not in row:
                raise SourceError(f"{name}: has no column {column!r}, only {', '.join(sorted(row))}; {SET_COLUMN}")
            if not isinstance(row[column], str | None):
                kind = type(row[column]).__name__
                raise SourceError(f"{name}: column {column!r} contains {kind}, expected text; {SET_COLUMN}")
            yield row[column] or ""


@contextmanager
def said_in_a_sentence(name: str, kind: str, revision: str | None, advice: str = "") -> Iterator[None]:
    """Turn errors of the hub's client into one sentence with a remedy."""
    folder = "datasets/" if kind == "data set" else ""
    try:
        yield
    except GatedRepoError as error:
        raise SourceError(
            f"{name}: access to this {kind} must be requested at https://huggingface.co/{folder}{name} and "
            "set HF_TOKEN to a token of the account that has it"
        ) from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"{name}: neither a path on this machine nor a {kind} of the hub; correct the name or, if it is private, "
            f"set HF_TOKEN to a token of an account that may read it{advice and '; ' + advice}"
        ) from error
    except RevisionNotFoundError as error:
        raise SourceError(f"{name}: the hub's {kind} has no revision {revision!r}; correct it") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _unreachable(name) from error
    except EntryNotFoundError as error:
        raise SourceError(f"{name}: the hub's {kind} lacks a file that is needed ({error})") from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise SourceError(f"{name}: the hub refuses this {kind} ({error})") from error
    except HTTPError as error:  # from the HTTP client, if the hub does not answer
        raise _unreachable(name) from error
    except SourceError:
        raise
    except Exception as error:  # over broken files, readers of six formats raise nearly anything
        raise SourceError(f"{name}: the hub's {kind} cannot be read ({describe_error(error)})") from error


def _unreachable(name: str) -> SourceError:
    return SourceError(
        f"{name}: no such file or folder on this machine, and not in the hub's cache; the hub cannot be reached "
        "(offline, or HF_HUB_OFFLINE is set). Correct the path, or fetch it with a network and the same HF_HOME"
    )
