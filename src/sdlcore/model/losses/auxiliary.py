"""The auxiliary loss (eq. 8): dead latents reconstruct the residual, or the input."""

from torch import Tensor

from sdlcore.model.losses.reconstruction import reconstruction
from sdlcore.model.losses.term import Term, TermInputs


def auxiliary(inputs: TermInputs) -> Tensor:
    """E || e - W_D sigma_Top-k_aux(W_E x_p) ||^2 over dead latents (eq. 8).

    The paper's form is ``aux_target`` "input": e = x_r. The usual form is "residual": e is the error of the living
    latents, without its gradient (Gao et al. 2024). The loss is zero while no latent is dead.
    """
    x_BR, out = inputs.target, inputs.out
    if out.aux is None:
        return x_BR.new_zeros(())
    return reconstruction(x_BR if inputs.config.aux_target == "input" else (x_BR - out.x_hat).detach(), out.aux)


TERM = Term("aux", auxiliary, "lambda_aux", error=True)
