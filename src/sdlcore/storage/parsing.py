"""Turn whatever a parser raises into one sentence that names the file."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sdlcore.errors import SourceError
from sdlcore.text import printable

LONGEST = 300
"""Most letters of what a parser says that an error repeats."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
NO_CODE = "code that comes with a model is never run"


def parsing(path: str | Path, form: str, advice: str = "") -> AbstractContextManager[None]:
    """Turn whatever a parser raises over a file into one sentence.

    Parameters
    ----------
    path
        File or folder, for the message.
    form
        What it was expected to be.
    advice
        What to do, or what to know.

    Raises
    ------
    SourceError
        In the place of any exception of the block; its own ones pass.
    """
    return in_a_sentence(f"{printable(path)}: not readable as {form}", path, advice)


@contextmanager
def in_a_sentence(begin: str, path: str | Path = "", advice: str = "") -> Iterator[None]:
    """Do the same with a sentence that begins otherwise."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # over a broken file, parsers raise nearly anything
        raise SourceError(f"{begin} ({describe_error(error, path)}){advice and '; ' + advice}") from error


def describe_error(error: BaseException, path: str | Path = "") -> str:
    """Return an exception's class and the first line of its message, with file names instead of paths.

    What libraries say in further lines is how to trust the file.
    """
    if isinstance(error, RecursionError):
        return "RecursionError: nested too deeply"
    if isinstance(error, KeyError):
        return f"it lacks {printable(str(error))}"
    text = str(error).replace(str(path), Path(path).name) if Path(path).name else str(error)
    text = printable(" ".join(_COLOURS.sub("", text).strip().partition("\n")[0].split()))
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ..."
    return f"{type(error).__name__}: {text}".rstrip(": ")


@contextmanager
def nothing_to_read() -> Iterator[None]:
    """Close standard input to whatever asks for something in the block."""
    before = sys.stdin
    with Path(os.devnull).open(encoding="utf-8") as sys.stdin:
        try:
            yield
        finally:
            sys.stdin = before
