"""A user's custom optimiser, schedule and callbacks, in place of `Adam` and its schedule."""

import math
import warnings
from array import array
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

SAME_RATE = 1e-6
"""Largest difference of learning rates that counts as rounding, relative to the rate or to the initial rate."""
MakeOptimizer = Callable[[list[nn.Parameter]], Optimizer]
MakeSchedule = Callable[[Optimizer], LRScheduler]
Callback = Callable[[Row], object]


class CustomParts(NamedTuple):
    """The parts of a training that a user supplies."""

    optimizer: MakeOptimizer | None = None
    """Makes the optimiser from the parameters; None for `Adam`."""
    schedule: MakeSchedule | None = None
    """Makes the learning rate's schedule from the optimiser; None for ``lr_warmup`` and ``lr_decay``."""
    callbacks: Sequence[Callback] = ()
    """Called with every row of the history. If one returns True, the training stops."""


class TorchOptimizer:
    """A torch optimiser with the interface of `Adam`.

    Gradients are dense tensors filled by sdlcore's kernels: rows of latents that were not active are zero. Before the
    step, gradients of unit rows are made tangent to the sphere and all gradients are clipped; after it, unit rows are
    normalised. `Adam` does the same, but here each takes its own pass over memory.

    Parameters
    ----------
    make
        Makes the optimiser.
    parameters
        Parameters to train.
    clip
        Largest norm of the whole gradient; None for no limit.
    on_sphere
        Parameters (matrices) whose rows have norm one.
    kernels
        Kernels to compute with.
    scheduled
        Whether the user's schedule sets the learning rates.

    Attributes
    ----------
    optimizer
        The torch optimiser.
    peak
        The initial learning rate of the first parameter group.
    gradient_norm
        Norm of the whole gradient in the last step, after the tangent projection and before clipping.

    Raises
    ------
    ValueError
        If ``make`` returns no usable optimiser (`made_optimizer`), or if the learning rate of the first parameter group
        is 0 and no schedule sets it. `step` raises it if the number of parameter groups changes.
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
        if not scheduled and not self.peak > 0:
            raise ValueError(
                f"optimizer gives its first parameter group a learning rate of {self.peak:g}, expected more than 0, "
                "since the rates of the other groups follow the first; put another group first"
            )

    @property
    def state(self) -> Mapping[Tensor, dict[str, Any]]:
        """The state of each parameter, as torch stores it."""
        return self.optimizer.state

    @torch.no_grad()
    def step(self, lr: float, row_norms: RowNorms | None = None) -> None:
        """Take a step along the gradients of all parameters that have one; ``row_norms`` is ignored.

        The first parameter group has the learning rate ``lr``, which scales the other groups by the same factor. The
        rates of a user's schedule stay.
        """
        if not self._scheduled:
            for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                # equal rates are set without a quotient, so that they stay equal to the bit
                group["lr"] = lr if rate == self.peak else lr * (rate / self.peak)
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
        if len(self.optimizer.param_groups) != len(self._rates):
            raise ValueError(
                f"optimizer has {len(self.optimizer.param_groups)} parameter groups after a step, expected "
                f"{len(self._rates)} as before; keep the groups throughout the training"
            )
        for p, _ in trained:
            if id(p) in self._on_sphere:
                self.kernels.normalise_rows(p.detach())


class Schedule:
    """A torch learning-rate schedule, stepped once after each training step.

    Parameters
    ----------
    make
        Makes the schedule.
    optimizer
        The user's optimiser; None for `Adam`, which reads its learning rate from here.
    lr
        The initial learning rate of `Adam`.
    """

    def __init__(self, make: MakeSchedule, optimizer: Optimizer | None, lr: float) -> None:
        # torch's schedules need a torch optimiser, which Adam is not; an SGD of one untrained number takes its place.
        # SGD without momentum makes schedules that change betas raise an error instead of having no effect.
        self._stand_in = None if optimizer else torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
        self.optimizer: Optimizer = optimizer or self._stand_in  # type: ignore[assignment]
        self.scheduler = made_schedule(make, self.optimizer)
        self._largest = max(float(group["initial_lr"]) for group in self.optimizer.param_groups)
        self._past = array("d")
        """Learning rates of all parameter groups in each step so far. `restore` compares them, since a schedule's state
        does not contain its lambda functions."""

    @property
    def lr(self) -> float:
        """The learning rate of the next step, in the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Advance to the next step."""
        self._past.extend(self._rates())
        if self._stand_in is not None:
            self._stand_in.step()  # torch warns if a schedule steps before its optimiser
        self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """Return the state that determines the next learning rate, and the rates so far."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        past = torch.tensor(self._past, dtype=torch.float64)
        return {"schedule": self.scheduler.state_dict(), "rates": rates, "past": past}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring a fresh schedule to a state that `state` returned; ValueError if its rates so far differ (`follow`)."""
        self.follow(enumerate(state["past"].view(-1, len(self.optimizer.param_groups)).tolist()))
        self.scheduler.load_state_dict(state["schedule"])
        for group, rate in zip(self.optimizer.param_groups, state["rates"], strict=True):
            group["lr"] = rate

    def follow(self, expected: Iterable[tuple[int, Sequence[float]]]) -> None:
        """Advance a fresh schedule past steps whose learning rates are known.

        Parameters
        ----------
        expected
            Steps, from 0, in ascending order, and the learning rates of the first parameter groups there.

        Raises
        ------
        ValueError
            If the schedule gives other learning rates, beyond rounding; the message names the first such step.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns if a schedule steps without its optimiser
            next_step = 0
            for step, rates in expected:
                for _ in range(next_step, step):
                    self.step()
                actual_rates = self._rates()[: len(rates)]
                for rate, other in zip(actual_rates, rates, strict=True):
                    if not math.isclose(rate, other, rel_tol=SAME_RATE, abs_tol=SAME_RATE * self._largest):
                        raise ValueError(
                            f"schedule gives a learning rate of {rate:g} in step {step + 1}, but that step was taken "
                            f"with {other:g}; use the schedule that the run began with, or choose another folder"
                        )
                self.step()
                next_step = step + 1

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]


def stops(answer: object) -> bool:
    """Return whether a callback's answer stops the training. Only True does, not other objects such as the number that
    ``csv.writer(...).writerow`` returns."""
    if isinstance(answer, torch.Tensor) and answer.dtype == torch.bool and answer.numel() == 1:
        return bool(answer)
    return isinstance(answer, bool | np.bool_) and bool(answer)


def made_optimizer(make: MakeOptimizer, parameters: list[nn.Parameter]) -> Optimizer:
    """Call the user's factory, and check that it returns an optimiser.

    Raises
    ------
    ValueError
        If it returns something else, or an optimiser that evaluates the loss itself.
    """
    optimizer: object = make(parameters) if callable(make) else make
    if optimizer is make or not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"optimizer gives a {type(optimizer).__name__}, expected a function that makes an optimiser from "
            "parameters: optimizer=lambda p: torch.optim.Adam(p, lr=1e-3)"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("optimizer gives an LBFGS, which evaluates the loss several times a step; choose another")
    if isinstance(optimizer, torch.optim.SparseAdam):
        raise ValueError("optimizer gives a SparseAdam, which needs sparse gradients, but these are dense; choose Adam")
    return optimizer


def check_callbacks(callbacks: object) -> tuple[Callback, ...]:
    """Return callbacks as a tuple; ValueError if they are not a list of functions."""
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise ValueError(
            f"callbacks are a {type(callbacks).__name__}, expected a list of functions: callbacks=[lambda row: ...]"
        )
    functions = tuple(callbacks)
    for number, callback in enumerate(functions):
        if not callable(callback):
            raise ValueError(
                f"callbacks[{number}] is {callback!r:.60}, expected a function that takes a row of the history"
            )
    return functions


def made_schedule(make: MakeSchedule, optimizer: Optimizer) -> LRScheduler:
    """Call the user's factory; ValueError if it returns no schedule, or a schedule that needs a metric."""
    schedule: object = make(optimizer) if callable(make) else make
    if schedule is make or not isinstance(schedule, LRScheduler):
        raise ValueError(
            f"schedule gives a {type(schedule).__name__}, expected a function that makes a schedule from the "
            "optimiser: schedule=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2000)"
        )
    if isinstance(schedule, ReduceLROnPlateau):
        raise ValueError("schedule gives a ReduceLROnPlateau, which needs a metric; choose a step-based schedule")
    return schedule
