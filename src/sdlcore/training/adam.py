"""Adam, with some parameters on the sphere."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam as torch_adam

from sdlcore.model import kernels
from sdlcore.model.kernels import row_norms
from sdlcore.processes import Group

BETAS, EPS = (0.9, 0.999), 1e-8


class Adam:
    """Adam with clipping, and rows of some parameters kept on the unit sphere.

    Gradients of such rows are made tangent to the sphere before they are clipped and rows are normalised after the step
    (Bricken et al. 2023). On the CPU all of it happens in Adam's own pass over the memory, by a kernel of ours: a pass
    more takes as long as the whole of decoding. State and results are torch's, but for rounding. It is no
    `torch.optim.Optimizer`, since the first one made in a process imports torch's compiler, which takes longer than a
    short training.

    Parameters
    ----------
    parameters
        What to train.
    lr
        Learning rate, which may be changed between steps.
    clip
        Largest norm of the whole gradient; None for any.
    on_sphere
        Those of the parameters (matrices) whose rows have norm one.
    group
        Processes that have other parameters of the same model.
    shared
        Those of the parameters that all of them have.

    Attributes
    ----------
    state
        Of each parameter that was trained: ``step``, ``exp_avg`` and ``exp_avg_sq``, as torch has them.
    gradient_norm
        Norm of the whole gradient in the last step, tangents taken, before it was clipped.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        clip: float | None = None,
        on_sphere: Iterable[Tensor] = (),
        group: Group | None = None,
        shared: Iterable[Tensor] = (),
    ) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        self.clip = clip
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        self.gradient_norm = torch.zeros(())
        self._on_sphere = {id(p) for p in on_sphere}
        self._group = group or Group()
        self._counted_elsewhere = {id(p) for p in shared} if self._group.rank else set()

    @torch.no_grad()
    def step(self) -> None:
        """Take a step along the gradients of the parameters that have one."""
        trained = [p for p in self.parameters if p.grad is not None]
        along: dict[int, Tensor] = {}
        squares = []
        for p in trained:
            gradient = _gradient(p)
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
            if not self.state[p]:
                moments = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
                self.state[p] = {"step": torch.zeros((), dtype=torch.float32, device=p.device), **moments}
            if id(p) in self._counted_elsewhere:
                squares[-1].zero_()
        row_norms.forget()
        if not trained:
            self.gradient_norm = torch.zeros(())
            return
        self.gradient_norm = self._group.sum(torch.stack(squares).sum()).sqrt()
        scale = None if self.clip is None else (self.gradient_norm / self.clip).clamp(min=1.0)
        if all(p.device.type == "cpu" for p in trained):
            self._step_by_kernel(trained, along, scale)
        else:
            self._step_by_torch(trained, along, scale)

    def _step_by_kernel(self, trained: list[nn.Parameter], along: dict[int, Tensor], scale: Tensor | None) -> None:
        factor = 1.0 if scale is None else float(scale)
        for p in trained:
            state = self.state[p]
            state["step"] += 1
            moments = state["exp_avg"], state["exp_avg_sq"]
            settings = self.lr, BETAS, EPS, float(state["step"])
            kernels.adam(p, _gradient(p), moments, *settings, factor, along.get(id(p)))

    def _step_by_torch(self, trained: list[nn.Parameter], along: dict[int, Tensor], scale: Tensor | None) -> None:
        for p in trained:
            if id(p) in along:
                _gradient(p).addcmul_(along[id(p)][:, None], p, value=-1)
        states = [self.state[p] for p in trained]
        torch_adam(
            [*trained],
            [_gradient(p) for p in trained],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            grad_scale=scale,  # by which it divides gradients
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.lr,
            weight_decay=0.0,
            eps=EPS,
            maximize=False,
        )
        for p in trained:
            if id(p) in along:
                kernels.normalise_rows(p)


def _gradient(p: nn.Parameter) -> Tensor:
    assert p.grad is not None
    return p.grad
