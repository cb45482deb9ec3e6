"""Draw random batches from rows that come in order, by a buffer in memory."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

Columns = dict[str, np.ndarray]
"""Rows of each site, by column."""


class RowBuffer:
    """Batches of rows by the step.

    Buffer g contains the rows g R to (g + 1) R - 1, in random order; R is a multiple of the batch size. Reading the
    steps in order takes one pass over the rows.

    Parameters
    ----------
    rows_from
        Returns the rows in order, without end, from the first row of a buffer on.
    batch_size
        Rows of a batch.
    buffer_rows
        Largest number of rows in a buffer; a buffer has at least one batch.
    order
        Returns the random stream that shuffles a buffer.
    in_pairs
        Whether rows 2 i and 2 i + 1 stay neighbours.
    """

    def __init__(
        self,
        rows_from: Callable[[int], Iterator[Columns]],
        batch_size: int,
        buffer_rows: int,
        order: Callable[[int], np.random.Generator],
        in_pairs: bool = False,
    ) -> None:
        self._rows_from, self._batch_size, self._order, self._in_pairs = rows_from, batch_size, order, in_pairs
        self.steps = max(1, buffer_rows // batch_size)
        self.rows = self.steps * batch_size
        self.columns: Columns = {}
        """Rows of the buffer that was read last, in their order."""
        self._buffer, self._shuffled = -1, np.zeros(0, dtype=np.int64)
        self._coming: Iterator[Columns] = iter(())
        self._left: Columns = {}

    def batch(self, step: int) -> Columns:
        """Return the rows of a step, counted from 0; float32."""
        buffer, place = divmod(step, self.steps)
        self.load(buffer)
        rows = self._shuffled[place * self._batch_size : (place + 1) * self._batch_size]
        return {name: torch.from_numpy(values[rows]).float().numpy() for name, values in self.columns.items()}

    def load(self, buffer: int) -> None:
        """Read the rows of a buffer into memory."""
        if buffer == self._buffer:
            return
        if buffer == 0 or buffer != self._buffer + 1:
            self._coming, self._left = self._rows_from(buffer), {}
        filled = 0
        while filled < self.rows:
            part = self._left or next(self._coming)
            few = min(self.rows - filled, len(next(iter(part.values()))))
            for name, values in part.items():
                if name not in self.columns:
                    self.columns[name] = np.empty((self.rows, values.shape[1]), dtype=values.dtype)
                self.columns[name][filled : filled + few] = values[:few]
            filled += few
            rest = {name: values[few:] for name, values in part.items()}
            self._left = rest if len(next(iter(rest.values()))) else {}
        if self._in_pairs:
            first = 2 * self._order(buffer).permutation(self.rows // 2)
            self._shuffled = np.stack([first, first + 1], axis=1).ravel()
        else:
            self._shuffled = self._order(buffer).permutation(self.rows)
        self._buffer = buffer
