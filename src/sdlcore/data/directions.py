"""Check directions read from files: unit vectors, or none."""

from pathlib import Path

import numpy as np

TOLERANCE = 1e-3
"""How far from one the norm of a direction may be: float16 rounds so."""


def check_directions(path: str | Path, name: str, rows: np.ndarray, k: int, line: str = "row") -> None:
    """Refuse what are not k unit vectors.

    Parameters
    ----------
    path, name
        File and tensor, for the message.
    rows
        k x dimension.
    k
        How many there are to be.
    line
        What they are in the file: rows or columns.

    Raises
    ------
    ValueError
        Naming the file, the tensor and the first that is none.
    """
    if rows.dtype.kind != "f" or rows.ndim != 2 or len(rows) != k or 0 in rows.shape:
        shape = rows.shape if line == "row" else rows.T.shape
        raise ValueError(f"{path}: {name} is {rows.dtype} of shape {shape}, expected unit vectors, one a {line}")
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    wrong = ~(np.abs(norms - 1) < TOLERANCE)  # of NaN, too
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"{path}: {line} {first} of {name} has norm {norms[first]:.4g}, but directions are unit vectors"
        )
