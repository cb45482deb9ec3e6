"""Pairs of neighbouring tokens, which the loss term ``contrast`` compares."""

import numpy as np

from sdlcore.data.memory import Activations

DOCUMENT, POSITION = "references/document", "references/position"
"""Columns that say which rows are neighbours: the document of each token, and its position there."""


def starts_of_pairs(document_N: np.ndarray, position_N: np.ndarray, block_rows: int | None = None) -> np.ndarray:
    """Return the rows r (ascending) such that rows r and r + 1 are consecutive tokens of one document.

    No row is in two pairs: a run of n consecutive tokens gives n // 2 pairs, from its first token on.

    Parameters
    ----------
    document_N, position_N
        Document of each row's token, and its position in the document.
    block_rows
        Rows of a block. No pair has rows of two blocks.
    """
    same = document_N[1:] == document_N[:-1]
    follows = np.append(same & (position_N[1:] == position_N[:-1] + 1), False)
    if block_rows is not None:
        follows[block_rows - 1 :: block_rows] = False
    row = np.arange(len(follows))
    # a run of neighbours starts behind the last row that the next one does not follow
    start = np.maximum.accumulate(np.where(np.append(True, ~follows[:-1]), row, 0))
    return row[follows & ((row - start) % 2 == 0)]


def pairs_of(store: Activations) -> np.ndarray:
    """Return `starts_of_pairs` of a store, within its chunks.

    Raises
    ------
    ValueError
        If the store does not say which rows are neighbours, or no rows are.
    """
    if missing := [column for column in (DOCUMENT, POSITION) if not store.has(column)]:
        raise ValueError(
            f"{store.path}: contrast compares neighbouring tokens, but there is no {missing[0]} to "
            "find neighbours by; train on a store of sdl.extract, or on batches of pairs (B x 2 x n_p)"
        )
    starts = starts_of_pairs(store.read(DOCUMENT), store.read(POSITION), store.chunk_rows)
    if not len(starts):
        raise ValueError(f"{store.path}: contrast compares neighbouring tokens, but no two rows are neighbours")
    return starts
