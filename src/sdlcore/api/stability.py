"""Match the latents of dictionaries of the same activations, such as of several seeds, one to one by cosines."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.optimize
import torch

from sdlcore.api.dictionary import Dictionary
from sdlcore.api.dictionary_arguments import coders_of
from sdlcore.data.recovery_rule import recovered
from sdlcore.extras import extra
from sdlcore.model.coder import SparseCoder
from sdlcore.text import table

if TYPE_CHECKING:
    import pandas as pd

TAUS = (0.7, 0.9)
"""Two latents with a cosine above this count as shared."""


class Pairing(NamedTuple):
    """The latents of two dictionaries, matched one to one."""

    first: Any
    second: Any
    """Names of the dictionaries."""
    decoder: np.ndarray
    """Cosines of matched decoder columns, one for each latent of the smaller dictionary, in the first one's order."""
    encoder: np.ndarray
    """Cosines of encoder rows, which are matched for themselves."""

    def shared(self, side: str, tau: float) -> float:
        """Return the share of latents whose match has a cosine above ``tau``; side is encoder or decoder."""
        return float(recovered(getattr(self, side), tau).mean())


class Stability(list[Pairing]):
    """All pairs of several dictionaries; prints as a small table."""

    def to_frame(self) -> "pd.DataFrame":
        """Return a table, a row a pair: shares of decoder columns and encoder rows at each tau, and mean cosines."""
        with extra("tables"):
            import pandas as pd

        return pd.DataFrame([{"first": pair.first, "second": pair.second, **self._columns(pair)} for pair in self])

    def __repr__(self) -> str:
        head = ["first", "second", *self._columns(self[0])] if self else ["first", "second"]
        rows = [
            [str(pair.first), str(pair.second), *(f"{x:.3f}" for x in self._columns(pair).values())] for pair in self
        ]
        return table([head, *rows])

    @staticmethod
    def _columns(pair: Pairing) -> dict[str, float]:
        columns: dict[str, float] = {}
        for side in ("decoder", "encoder"):
            columns |= {f"{side}_{tau}": pair.shared(side, tau) for tau in TAUS}
            columns[f"{side}_mean"] = float(getattr(pair, side).mean())
        return columns


def stability(dictionaries: Sequence[Dictionary | SparseCoder] | Mapping[Any, Dictionary | SparseCoder]) -> Stability:
    """Match the latents of several dictionaries, and measure how many of them the dictionaries share.

    Latents of two dictionaries are matched one to one, so that the sum of cosines is largest (the Hungarian method):
    decoder columns with decoder columns, and encoder rows with encoder rows. Latents without a direction have the
    cosine 0. Time and memory grow with the square of the width at least: 4,096 latents take seconds, 16,384 minutes and
    some GB.

    Parameters
    ----------
    dictionaries
        Two or more, of the same dimensions; by name, or numbered from 0.

    Returns
    -------
    Each pair, with the cosines of matched latents. Shares count the smaller dictionary's latents.

    Raises
    ------
    ValueError
        If there are fewer than two, one contains NaN, or dimensions differ.
    """
    coders = coders_of(dictionaries)
    if len(coders) < 2:
        raise ValueError(f"found {len(coders)} dictionaries, expected two or more to compare")
    directions = {name: _directions(coder) for name, coder in coders.items()}
    widths = {name: [side.shape[1] for side in sides] for name, sides in directions.items()}
    first = next(iter(widths))
    for name, found in widths.items():
        if found != widths[first]:
            raise ValueError(
                f"dictionary {name} reads and writes {found[0]} and {found[1]} dimensions, but {first} has "
                f"{widths[first][0]} and {widths[first][1]}; compare dictionaries of the same activations"
            )
    return Stability(
        Pairing(name, other, *(match_rows(a, b)[2] for a, b in zip(directions[name], directions[other], strict=True)))
        for name, other in combinations(directions, 2)
    )


def _directions(coder: SparseCoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit decoder columns and unit encoder rows, as rows; zeros where there is no direction."""
    return unit_rows(coder.W_dec), unit_rows(coder.W_enc)


def unit_rows(W: torch.Tensor) -> torch.Tensor:
    """Return rows at unit norm, float32 on the CPU; zeros stay zero."""
    return torch.nn.functional.normalize(W.detach().cpu().float())


def match_rows(one_QD: torch.Tensor, other_QD: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match unit rows one to one, so that the sum of cosines is largest; return both indices and the cosines."""
    cosines = (one_QD @ other_QD.T).numpy()
    rows, columns = scipy.optimize.linear_sum_assignment(cosines, maximize=True)
    return rows, columns, np.asarray(cosines[rows, columns])
