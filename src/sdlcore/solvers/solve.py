"""Find a dictionary of raw activations with a solver, and fit its encoder."""

import logging
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
from sdlcore.solvers.search import ReadTargets, Row
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.history import History, Watch
from sdlcore.training.normalisation import fit_normalisation

log = logging.getLogger(__name__)

ENCODER_STEPS = 3
"""Number of batches that an encoder is fitted to."""


class SolverResult(NamedTuple):
    """The result of a solver."""

    atoms: Tensor
    """K x n_r, unit rows."""
    rows: list[Row]
    """History rows, one per step."""

    def codes(self, x_BR: Tensor, config: SolverConfig) -> Codes:
        """Return the non-negative codes of B samples; supports have the size of the last step's."""
        return codes_of(x_BR, self.atoms, int(self.rows[-1]["support"]), config)


def find(
    batches: ReadTargets,
    config: SolverConfig,
    generator: torch.Generator,
    start: Tensor | None = None,
    keep: Callable[[Tensor, Row], None] | None = None,
) -> SolverResult:
    """Run the configured solver until it ends; ``keep`` is called with each step's atoms and row."""
    rows: list[Row] = []
    for atoms, row in solver_of(config.solver)(batches, config, generator, start):
        rows.append(row)
        if keep is not None:
            keep(atoms, row)
        numbers = (row["step"], row["fvu"], row["l0"], len(atoms), row["seconds"])
        log.info("step %d  fvu %.4f  l0 %.1f  atoms %d  %.1f s", *numbers)
    return SolverResult(atoms, rows)


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
        If activations are not finite, all zero or too large or small for float32, or the weights found are not finite.
    """
    sites = pair_sites(config.pair, *store.widths)
    reader = BatchReader(store, config.pair, min(config.batch_size, store.rows), partial(stream, seed, "order"))
    if config.normalise:
        scaling = fit_normalisation(store, config.pair)
    else:
        scaling = no_scaling(*(sum(widths) for widths in sites))

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
    for later in range(step, step + ENCODER_STEPS):
        x_p, x_r = batch(later)
        codes = result.codes(x_r, config)
        fit.add(x_p, codes)
        loss, l0 = float(codes.errors.mean()), codes.l0
        fvu = loss / max(float(x_r.var(dim=0, correction=0).sum()), 1e-30)
    encoder = fit.solve()
    model_config = ModelConfig(pair=config.pair, activation="jumprelu", n_q=len(atoms))
    model = SparseCoder.from_config(model_config, *sites).eval()
    weights = {"W_enc": encoder.W, "b_enc": encoder.b, "sigma.threshold": encoder.threshold, "W_dec": atoms}
    model.load_state_dict(model.state_dict() | weights)
    seconds = float(history.rows[-1]["seconds"]) + time.perf_counter() - began
    # the last row describes the finished dictionary: the error of its codes, and the time including the encoder
    row = {**history.rows[-1], "step": step + 1, "loss": loss, "fvu": fvu, "l0": l0}
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
