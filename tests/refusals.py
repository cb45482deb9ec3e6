"""Tables of refusals: in each row a name, the bad input and a fragment of the message."""

from collections.abc import Sequence
from typing import Any

import pytest


def rows(table: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the rows of a table as parameters of a test, named by their first cells."""
    return [pytest.param(*cells, id=name) for name, *cells in table]
