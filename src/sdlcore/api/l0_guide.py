"""Which number of active latents suits the data: two measures of dictionaries trained with several numbers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdlcore.api.dictionary import Dictionary
from sdlcore.api.dictionary_arguments import check_sample_shape, coders_of
from sdlcore.api.samples import Samples, samples_of
from sdlcore.extras import extra
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Latents, Total, checked

if TYPE_CHECKING:
    import pandas as pd

PROJECTIONS_AT_ONCE = 2**24
"""Numbers in the largest matrix."""
SHARE = 1 / 8
"""n as a share of n_q. The authors of the guide take a little less than half; on benches, an eighth comes nearer to the
true L0 (benchmarks/results/l0_guide.csv)."""


def l0_guide(
    dictionaries: Sequence[Dictionary | SparseCoder] | Mapping[Any, Dictionary | SparseCoder],
    x: Any,
    n: int | None = None,
    n_samples: int = 10_000,
) -> "pd.DataFrame":
    """Measure how much dictionaries mix features, to choose their number of active latents (L0).

    With too few active latents, a dictionary mixes features that occur together; with too many, it mixes features at
    will. Its decoder columns then have more in common with samples that do not contain their features (Chanin and
    Garriga-Alonso 2025, arXiv 2508.16560). Train dictionaries with several ``k``, and take the L0 at which
    ``projection`` is least. docs/training.md shows when this finds the L0 of benches.

    Parameters
    ----------
    dictionaries
        One or more dictionaries of the same activations, by name, or numbered from 0. `fit_many` trains them together.
    x
        Samples, as in `fit`, which training should not have seen.
    n
        Which projection, above every L0 in question; None for an eighth of the latents.
    n_samples
        Number of samples to use, the first of ``x``.

    Returns
    -------
    A table with a row for each dictionary: ``l0``, its active latents of a sample; ``projection``, the paper's s_n^dec:
    the value that n inner products of a centred sample with unit decoder columns exceed, on average over samples;
    ``cosine``, the mean size of the cosine of two decoder columns. Columns of zeros are left out.

    Raises
    ------
    ValueError
        If there is no dictionary, one contains NaN or has another width than ``x``, n is not below a dictionary's
        number of latents, or a dictionary is a transcoder, whose decoder columns are in another space than ``x``.
    """
    with extra("tables"):
        import pandas as pd

    coders = coders_of(dictionaries)
    if not coders:
        raise ValueError("dictionaries are empty, expected one or more, trained with several k")
    n_samples = checked("n_samples", Total, n_samples)
    rows = {}
    for name, coder in coders.items():
        if coder.config.pair == "transcoder":
            raise ValueError(f"dictionary {name} is a transcoder, whose decoder columns do not lie in the space of x")
        nth = max(1, round(SHARE * len(coder.W_dec))) if n is None else checked("n", Latents, n)
        if nth >= (latents := int(coder.W_dec.any(dim=1).sum())):
            raise ValueError(f"n is {nth}, but dictionary {name} has {latents} latents with a direction; lower n")
        with samples_of(x, coder.config.pair) as samples:
            leading = samples.shape[:1] if samples.leading is None else samples.leading
            check_sample_shape(name, coder, (*leading, samples.shape[1]))
            rows[name] = _measured(coder, samples, nth, n_samples)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["l0", "projection", "cosine"])


@torch.no_grad()
def _measured(coder: SparseCoder, samples: Samples, nth: int, n_samples: int) -> tuple[float, float, float]:
    """Return l0, projection and cosine of a dictionary."""
    columns = normalize(coder.W_dec[coder.W_dec.any(dim=1)].float())
    number = min(n_samples, samples.shape[0])
    part = Samples((number, samples.shape[1]), lambda first, last: samples.read(first, min(last, number)))
    rows = max(1, PROJECTIONS_AT_ONCE // len(coder.W_dec))
    active, total = 0.0, 0.0
    training = coder.training
    coder.eval()
    try:
        for block in part.blocks(rows, coder.W_dec):
            active += float(coder(block).active().sum())
            total += len(block) * nth_projection((block - coder.b_dec).float(), columns, nth)
    finally:
        coder.train(training)
    return active / number, total / number, mean_cosine(columns)


def nth_projection(x_BR: Tensor, columns_QR: Tensor, nth: int) -> float:
    """Return the largest value that n B of the inner products of B samples with unit columns exceed (s_n^dec)."""
    products = (x_BR @ columns_QR.T).flatten()
    # the (n B)-th from the top, counted from 0
    return float(products.kthvalue(len(products) - nth * len(x_BR)).values)


def mean_cosine(columns_QR: Tensor) -> float:
    """Return the mean absolute cosine of two different unit columns; 0 for a single column."""
    q, total = len(columns_QR), 0.0
    for chunk in columns_QR.split(max(1, PROJECTIONS_AT_ONCE // max(1, q))):
        total += float((chunk @ columns_QR.T).abs().sum(dtype=torch.float64))
    return max(0.0, total - float(columns_QR.square().sum(dtype=torch.float64))) / max(1, q * (q - 1))
