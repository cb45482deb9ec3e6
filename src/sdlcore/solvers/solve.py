"""Find a dictionary of raw activations with a solver, and fit its encoder."""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.config import ModelConfig
from sdlcore.data.arrays import Activations
from sdlcore.data.batches import BatchReader
from sdlcore.data.pairs import pair_sites
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.model.scaling import no_scaling
from sdlcore.random_streams import stream, torch_stream
from sdlcore.solvers.codes import Codes, codes_of
from sdlcore.solvers.encoder import EncoderFit
from sdlcore.solvers.registry import solver_of
from sdlcore.solvers.search import Batches, Row
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.history import History, Watch
from sdlcore.training.normalisation import fit_normalisation

log = logging.getLogger(__name__)

ENCODER_STEPS = 3
"""Number of batches that an encoder is fitted to."""
ORDINARY = 2.0**-20, 2.0**20
"""Solvers use activations unscaled if the largest entry of a batch is between these."""
MOST_APART = 2.0**-110, 2.0**110
"""Range of the ratio of target to input size that keeps a transcoder's encoder well within float32."""


class SolverResult(NamedTuple):
    """The result of a solver."""

    atoms: Tensor
    """K x n_r, unit rows."""
    rows: list[Row]
    """History rows, one per step."""
    unit: float = 1.0
    """The power of two that x_r was divided by (`unit_of`). Unit atoms do not depend on it."""

    def codes(self, x_BR: Tensor, config: SolverConfig) -> Codes:
        """Return the non-negative codes of B samples in ``unit``; supports have the size of the last step's."""
        return codes_of(x_BR, self.atoms, int(self.rows[-1]["support"]), config)


def find(
    batches: Batches,
    config: SolverConfig,
    generator: torch.Generator,
    start: Tensor | None = None,
    keep: Callable[[Tensor, Row], None] | None = None,
) -> SolverResult:
    """Run the configured solver until it ends; ``keep`` is called with each step's atoms and row."""
    rows: list[Row] = []
    # a plugin's solver may have settings in units of the activations
    read = _InUnit(batches, has_unit=config.by_plugin)
    if config.solver == "odl":  # l1 is in units of the activations; odl's clock does not count reading
        read(0)
        config = config.changed(l1=config.l1 / read.unit)
    for atoms, row in solver_of(config.solver)(read, config, generator, start):
        row["loss"] *= read.unit**2
        rows.append(row)
        if keep is not None:
            keep(atoms, row)
        numbers = (row["step"], row["fvu"], row["l0"], len(atoms), row["seconds"])
        log.info("step %d  fvu %.4f  l0 %.1f  atoms %d  %.1f s", *numbers)
    return SolverResult(atoms, rows, read.unit)


class _InUnit:
    """Divide batches by the first batch's unit. Reading lazily keeps the time of reading in the search's seconds."""

    def __init__(self, batches: Batches, has_unit: bool) -> None:
        self._batches, self._has_unit, self.unit = batches, has_unit, 1.0

    def __call__(self, step: int) -> Tensor:
        x = self._batches(step)
        if not self._has_unit:
            self._has_unit, self.unit = True, unit_of(x)
        return in_unit(x, self.unit)


def unit_of(x: Tensor) -> float:
    """Return the power of two that a solver divides samples by, so that their squares fit into float32.

    Squares of values above 1e19 overflow, and squares of values below 1e-22 vanish; a solver then ends with NaN or
    zeros. Division by a power of two is exact. Samples within `ORDINARY` keep their unit, 1, and so do samples that
    `search.read_batch` refuses.
    """
    largest = float(x.abs().max())
    if not math.isfinite(largest) or largest == 0 or ORDINARY[0] <= largest <= ORDINARY[1]:
        return 1.0
    return math.ldexp(0.5, math.frexp(largest)[1])


def in_unit(x: Tensor, unit: float) -> Tensor:
    """Return samples divided by a unit."""
    return x if unit == 1 else x / unit


def solve_dictionary(
    store: Activations,
    config: SolverConfig,
    seed: int,
    history: History,
    start: Tensor | None = None,
    watch: Watch | None = None,
) -> SparseCoder:
    """Find a dictionary of raw activations with a solver, and fit its encoder.

    Parameters
    ----------
    store
        Activations.
    config, seed
        Settings, and the seed of the sample order and initial atoms.
    history
        An open history; receives one row per step, and a last row that describes the finished dictionary.
    start
        Initial atoms (K x n_r), instead of drawn ones.
    watch
        Called with the atoms; returns further entries for each step's row. Its time does not count.

    Raises
    ------
    ValueError
        If activations are not finite or all zero, a transcoder's input and target differ too much in size, or the
        weights found are not finite.
    MonotonicityError
        If a convex step raises its objective (`sdlcore.solvers.codes`).
    """
    sites = pair_sites(config.pair, *store.widths)
    reader = BatchReader(store, config.pair, min(config.batch_size, store.rows), partial(stream, seed, "order"))
    if config.normalise:
        scaling = fit_normalisation(store, config.pair)
    else:
        scaling = no_scaling(*(sum(widths) for widths in sites))
    compile_loops(config)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        x_p, x_r = reader(step)
        first = torch.from_numpy(x_p)
        return scaling(first, first if x_r is x_p else torch.from_numpy(x_r))

    def keep(atoms: Tensor, row: Row) -> None:
        history.add(row | watch({"decoder": atoms / scaling.scale_r}) if watch else row)

    if start is not None:
        start = start * scaling.scale_r
    result = find(lambda step: batch(step)[1], config, torch_stream(seed, "initialisation"), start, keep)
    atoms, step = result.atoms, int(result.rows[-1]["step"])
    began = time.perf_counter()
    fit, loss, fvu, l0 = EncoderFit(len(atoms), sum(sites[0]), config.encoder_ridge), 0.0, 0.0, 0.0
    unit_p = unit_r = result.unit
    if config.pair == "transcoder" and not config.by_plugin:
        unit_p = unit_of(batch(0)[0])
        if not MOST_APART[0] <= unit_r / unit_p <= MOST_APART[1]:
            raise ValueError(
                f"the target is {unit_r / unit_p:.0e} times as large as x, so the encoder's weights would leave "
                "float32's range; multiply x or the target by a constant, or set normalise"
            )
    for later in range(step, step + ENCODER_STEPS):
        x_p, x_r = batch(later)
        x_p, x_r = in_unit(x_p, unit_p), in_unit(x_r, unit_r)
        codes = result.codes(x_r, config)
        if config.encoder != "pursuit":
            fit.add(x_p, codes)
        loss, l0 = float(codes.errors.mean()), codes.l0
        fvu = loss / max(float(x_r.var(dim=0, correction=0).sum()), 1e-30)
    model = _coder(result, fit, config, sites, unit_p)
    seconds = float(history.rows[-1]["seconds"]) + time.perf_counter() - began
    # the last row describes the finished dictionary: the error of its codes, and the time including the encoder
    row = {**history.rows[-1], "step": step + 1, "loss": loss * unit_r**2, "fvu": fvu, "l0": l0}
    row |= dict.fromkeys(row.keys() & {"replaced", "pruned"}, 0)
    row["samples"] += ENCODER_STEPS * len(x_r)
    history.add(row | {"seconds": round(seconds, 3)})
    scaling.fold(model)
    if broken := not_finite(model.state_dict()):
        raise ValueError(
            f"{store.path}: {config.solver} found weights that are not finite ({broken}); look for activations that "
            "are huge or tiny beside other activations"
        )
    return model


def _coder(
    result: SolverResult,
    fit: EncoderFit,
    config: SolverConfig,
    sites: tuple[tuple[int, ...], tuple[int, ...]],
    unit_p: float,
) -> SparseCoder:
    """Return the model for the activations themselves, from an encoder that was fitted to x_p in ``unit_p``."""
    atoms, unit_r = result.atoms, result.unit
    if config.encoder == "pursuit":
        k = min(int(result.rows[-1]["support"]), len(atoms))
        model_config = ModelConfig(
            pair=config.pair, activation=config.activation, n_q=len(atoms), k=k, bias=True, pursuit=config.sweeps
        )
        weights = {"W_enc": atoms}
    else:
        encoder = fit.solve(config.encoder, atoms)
        model_config = ModelConfig(pair=config.pair, activation=config.activation, n_q=len(atoms), bias=True)
        # codes, and so latents, are in units of x_r
        weights = {
            "W_enc": encoder.W * (unit_r / unit_p),
            "b_enc": encoder.b * unit_r,
            "sigma.threshold": encoder.threshold * unit_r,
        }
    model = SparseCoder.from_config(model_config, *sites).eval()
    model.load_state_dict(model.state_dict() | weights | {"W_dec": atoms})
    return model


def compile_loops(config: SolverConfig) -> None:
    """Compile or load the solver's numba loops in advance, so that a history's seconds exclude compilation."""
    tiny = SolverConfig(
        solver=config.solver,
        n_atoms=8,
        support=4,
        max_support=4,
        max_steps=1,
        precision=config.precision,
        **(config.model_extra or {}),
    )
    x = torch.rand(32, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    atoms, row = next(solver_of(config.solver)(lambda step: x, tiny, torch.Generator().manual_seed(0), None))
    SolverResult(atoms, [row]).codes(x, tiny)
