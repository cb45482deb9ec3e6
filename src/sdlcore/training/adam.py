"""Adam, with some parameters on the sphere."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sdlcore.model import kernels
from sdlcore.model.kernels import row_norms


class Adam(torch.optim.Adam):
    """torch's fused Adam, with clipping, and rows of some parameters kept on the unit sphere.

    Gradients of such rows are made tangent to the sphere before they are clipped and rows are normalised after the step
    (Bricken et al. 2023). On the CPU all of it happens in Adam's own pass over the memory, by a kernel of ours: a pass
    more takes as long as the whole of decoding. State and results are torch's, but for rounding.

    Parameters
    ----------
    parameters
        What to train.
    lr
        Learning rate.
    clip
        Largest norm of the whole gradient; None for any.
    on_sphere
        Those of the parameters (matrices) whose rows have norm one.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, clip: float | None = None, on_sphere: Iterable[Tensor] = ()
    ) -> None:
        super().__init__(parameters, lr=lr, fused=True)
        self.clip = clip
        self.gradient_norm = torch.zeros(())
        """Norm of the whole gradient in the last step, tangents taken, before it was clipped."""
        self._on_sphere = {id(p) for p in on_sphere}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        trained = [(p, p.grad) for group in self.param_groups for p in group["params"] if p.grad is not None]
        along: dict[int, Tensor] = {}
        squares = []
        for p, gradient in trained:
            known = row_norms.noted(gradient)
            if id(p) in self._on_sphere:
                if known is None or known.products is None:
                    along[id(p)], norms = kernels.row_products(gradient, p)
                else:
                    along[id(p)], norms = known.products, known.squares
                # of g - (g . w) w with w of norm one
                squares.append((norms - along[id(p)].square()).clamp_(min=0.0).sum())
            elif known is None:
                squares.append(kernels.squared_norms(gradient.view(len(gradient), -1)).sum())
            else:
                squares.append(known.squares.sum())
        row_norms.forget()
        self.gradient_norm = torch.stack(squares).sum().sqrt() if squares else torch.zeros(())
        scale = (self.gradient_norm / self.clip).clamp(min=1.0) if self.clip is not None else None
        if all(p.device.type == "cpu" for p, _ in trained):
            self._step_on_cpu(along, 1.0 if scale is None else float(scale))
            return None
        for p, gradient in trained:
            if id(p) in along:
                gradient.addcmul_(along[id(p)][:, None], p, value=-1)
        self.grad_scale = scale  # torch's fused kernel divides gradients by it
        super().step(closure)
        for p, _ in trained:
            if id(p) in along:
                kernels.normalise_rows(p)
        return None

    def _step_on_cpu(self, along: dict[int, Tensor], scale: float) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.float32)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                state["step"] += 1
                moments = state["exp_avg"], state["exp_avg_sq"]
                settings = group["lr"], group["betas"], group["eps"], float(state["step"])
                kernels.adam(p, p.grad, moments, *settings, scale, along.get(id(p)))
