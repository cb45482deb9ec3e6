"""The multi-scale loss of Matryoshka dictionaries (eq. 9): several reconstruction errors instead of one."""

from torch import Tensor

from sdlcore.model.losses.reconstruction import reconstruction
from sdlcore.model.losses.term import Term, TermInputs


def multi_scale(inputs: TermInputs) -> Tensor:
    """sum_i E || x_r - W_D sigma_i(W_E x_p) - b_D ||^2 (eq. 9, with lambda_i = 1).

    sigma_i keeps a part of the latents that sigma chose for a sample; parts grow with i. A part contains the k_i
    largest (``multi_k``), or the latents with an index below m_i (``prefixes``: Matryoshka, Bussmann et al. 2025).
    """
    x_BR, scales_BSR = inputs.target, inputs.out.scales
    return reconstruction(x_BR[:, None].expand_as(scales_BSR), scales_BSR)


TERM = Term("multi_scale", multi_scale, None)
