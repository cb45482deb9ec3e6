"""A user's own optimiser, schedule and callbacks, which replace `Adam` and its schedule."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.kernels.row_norms import RowNorms
from sdlcore.training.history import Row

MakeOptimizer = Callable[[list[nn.Parameter]], Optimizer]
MakeSchedule = Callable[[Optimizer], LRScheduler]
Callback = Callable[[Row], object]


class OwnParts(NamedTuple):
    """The parts of a training that a user supplies."""

    optimizer: MakeOptimizer | None = None
    """Makes the optimiser from the parameters; None for `Adam`."""
    schedule: MakeSchedule | None = None
    """Makes the learning rate's schedule from the optimiser; None for ``lr_warmup`` and ``lr_decay``."""
    callbacks: Sequence[Callback] = ()
    """Called with every row of the history. If one returns True, the training stops."""


class TorchOptimizer:
    """A torch optimiser with the interface of `Adam`.

    Gradients are dense tensors that our kernels fill: rows of latents that were not active are zero. Gradients of unit
    rows are made tangent to the sphere and all gradients are clipped before the step; unit rows are normalised after
    it. Both are as in `Adam`, but in passes over the memory of their own.

    Parameters
    ----------
    make
        Makes the optimiser.
    parameters
        What to train.
    clip
        Largest norm of the whole gradient; None for any.
    on_sphere
        Those of the parameters (matrices) whose rows have norm one.
    kernels
        What computes.
    scheduled
        Whether a schedule of its own sets learning rates. Then setting ``lr`` changes nothing.

    Attributes
    ----------
    optimizer
        The torch optimiser.
    peak
        The learning rate that its first group of parameters was made with.
    gradient_norm
        Norm of the whole gradient in the last step, tangents taken, before it was clipped.
    """

    def __init__(
        self,
        make: MakeOptimizer,
        parameters: Iterable[nn.Parameter],
        clip: float | None,
        on_sphere: Iterable[Tensor],
        kernels: Kernels,
        scheduled: bool,
    ) -> None:
        self.parameters = list(parameters)
        self.optimizer = made_optimizer(make, self.parameters)
        self.kernels = kernels
        self.clip = clip
        self.gradient_norm = torch.zeros((), dtype=torch.float32)
        self._scheduled = scheduled
        self._on_sphere = {id(p) for p in on_sphere}
        self._rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.peak = self._rates[0]

    @property
    def state(self) -> Mapping[Tensor, dict[str, Any]]:
        """The state of each parameter, as torch has it."""
        return self.optimizer.state

    @property
    def lr(self) -> float:
        """The learning rate of the first group of parameters. Setting it scales the others by the same factor."""
        return float(self.optimizer.param_groups[0]["lr"])

    @lr.setter
    def lr(self, lr: float) -> None:
        if self._scheduled:
            return
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            # the quotient is exactly one for the first group, and so for all where there is one rate
            group["lr"] = lr if rate == self.peak else lr * (rate / self.peak)

    @torch.no_grad()
    def step(self, row_norms: RowNorms | None = None) -> None:
        """Take a step along the gradients of the parameters that have one; ``row_norms`` is not used."""
        trained = [(p, p.grad) for p in self.parameters if p.grad is not None]
        if not trained:
            self.gradient_norm = torch.zeros((), dtype=torch.float32)
            return
        for p, gradient in trained:
            if id(p) in self._on_sphere:
                along, _ = self.kernels.row_products(gradient, p)
                gradient.addcmul_(along[:, None], p, value=-1)
        squares = [self.kernels.squared_norms(gradient.view(len(gradient), -1)).sum() for _, gradient in trained]
        self.gradient_norm = torch.stack(squares).sum().sqrt()
        if self.clip is not None:
            scale = (self.gradient_norm / self.clip).clamp(min=1.0)
            for _, gradient in trained:
                gradient.div_(scale)
        self.optimizer.step()
        for p, _ in trained:
            if id(p) in self._on_sphere:
                self.kernels.normalise_rows(p.detach())


class Schedule:
    """A torch schedule of the learning rate, stepped once after each step of the training.

    Parameters
    ----------
    make
        Makes the schedule.
    optimizer
        The user's own optimiser; None for `Adam`, which takes its learning rate from here.
    lr
        The learning rate that `Adam` starts with.
    """

    def __init__(self, make: MakeSchedule, optimizer: Optimizer | None, lr: float) -> None:
        # torch's schedules drive only torch's optimisers, and Adam is none: an SGD of an untrained number replaces it.
        # It has no momentum, so a schedule that would change betas raises an error instead of doing nothing.
        self._stand_in = None if optimizer else torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
        self.optimizer: Optimizer = optimizer or self._stand_in  # type: ignore[assignment]
        self.scheduler = made_schedule(make, self.optimizer)

    @property
    def lr(self) -> float:
        """The learning rate of the next step, of the first group of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Go on to the next step."""
        if self._stand_in is not None:
            self._stand_in.step()  # torch warns of a schedule whose optimiser takes no steps
        self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """Return what the next learning rate depends on."""
        return {"schedule": self.scheduler.state_dict(), "rates": [g["lr"] for g in self.optimizer.param_groups]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self.scheduler.load_state_dict(state["schedule"])
        for group, rate in zip(self.optimizer.param_groups, state["rates"], strict=True):
            group["lr"] = rate


def stops(answer: object) -> bool:
    """Tell whether a callback's answer stops the training: True does, and no other object, such as the number that
    ``csv.writer(...).writerow`` returns."""
    return isinstance(answer, bool | np.bool_) and bool(answer)


def made_optimizer(make: MakeOptimizer, parameters: list[nn.Parameter]) -> Optimizer:
    """Return the optimiser that a factory makes.

    Raises
    ------
    ValueError
        If it makes something else, or an optimiser that evaluates the loss by itself.
    """
    found: object = make(parameters) if callable(make) else make
    if found is make or not isinstance(found, Optimizer):
        raise ValueError(
            f"optimizer gives a {type(found).__name__}, expected a function that makes an optimiser from parameters: "
            "optimizer=lambda p: torch.optim.Adam(p, lr=1e-3)"
        )
    if isinstance(found, torch.optim.LBFGS):
        raise ValueError("optimizer gives an LBFGS, which evaluates the loss several times a step; choose another")
    return found


def made_schedule(make: MakeSchedule, optimizer: Optimizer) -> LRScheduler:
    """Return the schedule that a factory makes; ValueError if it makes something else, or one that needs a metric."""
    found: object = make(optimizer) if callable(make) else make
    if found is make or not isinstance(found, LRScheduler):
        raise ValueError(
            f"schedule gives a {type(found).__name__}, expected a function that makes a schedule from the optimiser: "
            "schedule=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2000)"
        )
    if isinstance(found, ReduceLROnPlateau):
        raise ValueError("schedule gives a ReduceLROnPlateau, which needs a metric; choose a schedule of the step")
    return found
