"""Adam, with rows of some parameters kept on the unit sphere."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sdlcore.memory import in_large_pages
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.interface import Descent, Kernels

BETAS, EPS = (0.9, 0.999), 1e-8


class Adam:
    """Adam with gradient clipping; rows of some parameters stay on the unit sphere.

    Gradients of unit rows are made tangent to the sphere before clipping, and the rows are normalised after the step
    (Bricken et al. 2023). On the CPU one kernel does all of this in Adam's own pass over memory, because another pass
    takes as long as decoding. States and results equal torch's up to rounding. The class is no `torch.optim.Optimizer`,
    because the first torch optimiser in a process imports torch's compiler, which takes longer than a short training.

    Parameters
    ----------
    parameters
        Parameters to train.
    clip
        Largest norm of the whole gradient; None for no limit.
    on_sphere
        Parameters (matrices) whose rows have norm one.
    kernels
        Kernels to compute with; None for the default of the parameters' device (`kernels_for`).
    weight_decay
        Matrices are multiplied by 1 - lr * weight_decay before each step (AdamW), except matrices with unit rows.

    Attributes
    ----------
    state
        ``step``, ``exp_avg`` and ``exp_avg_sq`` of each trained parameter, named as in torch.
    gradient_norm
        Norm of the whole gradient in the last step, after the tangent projection and before clipping.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        clip: float | None = None,
        on_sphere: Iterable[Tensor] = (),
        kernels: Kernels | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.kernels = kernels or kernels_for(self.parameters[0].device)
        self.clip = clip
        self.weight_decay = weight_decay
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        self.gradient_norm = torch.zeros((), dtype=torch.float32)
        self._on_sphere = {id(p) for p in on_sphere}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take a step with a learning rate along the gradients of all parameters that have one.

        Norms of rows that the kernels have recorded (`GradientNorms`) save reading the gradients again.
        """
        trained = [(p, p.grad) for p in self.parameters if p.grad is not None]
        descents: list[Descent] = []
        squares = []
        for p, gradient in trained:
            cached_norms = self.kernels.gradient_norms.of(p, gradient)
            along: Tensor | None = None
            if id(p) in self._on_sphere:
                if cached_norms is None or cached_norms.products is None:
                    along, norms = self.kernels.row_products(gradient, p)
                else:
                    along, norms = cached_norms.products, cached_norms.squares
                # the squared norm of g - (g . w) w, where w has norm one
                squares.append((norms - along.square()).clamp_(min=0.0).sum())
            elif cached_norms is None:
                squares.append(self.kernels.squared_norms(gradient.view(len(gradient), -1)).sum())
            else:
                squares.append(cached_norms.squares.sum())
            if not self.state[p]:
                moments = {
                    name: in_large_pages(torch.zeros_like(p), written=True) for name in ("exp_avg", "exp_avg_sq")
                }
                self.state[p] = {"step": torch.zeros((), dtype=torch.float32, device=p.device), **moments}
            state = self.state[p]
            if self.weight_decay and p.ndim > 1 and id(p) not in self._on_sphere:
                p.mul_(1 - lr * self.weight_decay)
            descents.append(Descent(p, gradient, state["exp_avg"], state["exp_avg_sq"], state["step"], along))
        if not trained:
            self.gradient_norm = torch.zeros((), dtype=torch.float32)
            return
        self.gradient_norm = torch.stack(squares).sum().sqrt()
        scale = None if self.clip is None else (self.gradient_norm / self.clip).clamp(min=1.0)
        self.kernels.adam(descents, lr, BETAS, EPS, scale)
