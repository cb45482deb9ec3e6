"""The loss of HierarchicalTopK: the mean reconstruction error over every number of latents up to k."""

from torch import Tensor

from sdlcore.losses.multi_scale import multi_scale
from sdlcore.losses.term import Term, TermInputs


def hierarchical(inputs: TermInputs) -> Tensor:
    """1 / k sum_j=1..k E || x_r - W_D sigma_j(W_E x_p) - b_D ||^2 (Balagansky et al. 2025, arXiv 2505.24473).

    sigma_j keeps the j largest of the latents that sigma chose, so that one dictionary serves every sparsity up to k.
    This is the multi-scale loss of all these k, divided by their number.
    """
    return multi_scale(inputs) / inputs.out.scales.shape[1]


TERM = Term("hierarchical", hierarchical, None)
