"""Tables of refusals: in each row a name, the bad input and a fragment of the message; and calls without warnings."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest


def rows(table: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the rows of a table as parameters of a test, named by their first cells."""
    return [pytest.param(*cells, id=name) for name, *cells in table]


@contextmanager
def no_warning() -> Iterator[None]:
    """Let every warning fail the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
