"""Turn any exception of a parser into a one-sentence error that names the file, and read JSON of other libraries."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.text import printable, short_text

LONGEST = 300
"""Longest part of a parser's message that an error repeats, in characters."""
NO_CODE = "code that comes with a model is never run"


@contextmanager
def parsing(path: str | Path, form: str, advice: str = "") -> Iterator[None]:
    """Turn any exception in the block into a one-sentence `SourceError`: PATH: not readable as FORM (...); ADVICE.

    A SourceError from the block is raised unchanged.
    """
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # parsers raise nearly any exception for a broken file
        problem = f"{printable(path)}: not readable as {form} ({describe_error(error, path)})"
        raise SourceError(problem + (advice and f"; {advice}")) from error


def describe_error(error: BaseException, path: str | Path = "") -> str:
    """Return an exception's class and the first line of its message, with file names instead of paths.

    Further lines are dropped: libraries use them to explain how to trust the file and run its code.
    """
    if isinstance(error, KeyError):
        return f"it lacks {printable(str(error))}"
    text = str(error).replace(str(path), Path(path).name) if Path(path).name else str(error)
    return short_text(f"{type(error).__name__}: {text.strip().partition(chr(10))[0]}".rstrip(": "), LONGEST)


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file of another library; ValueError or OSError if that fails (see `parsing`)."""
    return dict(json.loads(path.read_text(encoding="utf-8")))
