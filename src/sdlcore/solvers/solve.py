"""Solve for a dictionary, fit its encoder, and return a `SparseCoder`."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.run import ModelConfig
from sdlcore.solvers.codes import Codes, codes_of
from sdlcore.solvers.encoder import EncoderFit
from sdlcore.solvers.registry import solver_of
from sdlcore.solvers.search import Batches, Row
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.history import History, Watch
from sdlcore.training.normalisation import Normalisation

log = logging.getLogger(__name__)

ENCODER_STEPS = 3
"""Batches that an encoder is fitted to."""

Pairs = Callable[[int], tuple[Tensor, Tensor]]
"""Gives x_p (B x n_p) and x_r (B x n_r) of a step, float32."""


class Found(NamedTuple):
    """What a solver left."""

    atoms: Tensor
    """K x n_r, unit rows."""
    rows: list[Row]
    """Of its history, one a step."""

    def codes(self, x_BR: Tensor, config: SolverConfig) -> Codes:
        """Return the non-negative codes of B samples, with supports as large as the last step's."""
        return codes_of(x_BR, self.atoms, int(self.rows[-1]["support"]), config)


def find(
    batches: Batches,
    config: SolverConfig,
    generator: torch.Generator,
    start: Tensor | None = None,
    keep: Callable[[Tensor, Row], None] | None = None,
) -> Found:
    """Run the configured solver to its end; arguments as of `solve`, what it finds goes to ``keep`` as it comes."""
    rows: list[Row] = []
    for atoms, row in solver_of(config.solver)(batches, config, generator, start):
        rows.append(row)
        if keep is not None:
            keep(atoms, row)
        told = (row["step"], row["fvu"], row["l0"], len(atoms), row["seconds"])
        log.info("step %d  fvu %.4f  l0 %.1f  atoms %d  %.1f s", *told)
    return Found(atoms, rows)


def solve(
    pairs: Pairs,
    config: SolverConfig,
    sites: tuple[tuple[int, ...], tuple[int, ...]],
    generator: torch.Generator,
    normalisation: Normalisation,
    history: History,
    start: Tensor | None = None,
    watch: Watch | None = None,
) -> SparseCoder:
    """Return the dictionary and encoder of normalised activations; `normalisation.fold` undoes that.

    Parameters
    ----------
    pairs
        Batches by step.
    config
        Settings.
    sites
        Widths of the sites of x_p and of x_r.
    generator
        CPU stream for the start.
    normalisation
        Applied to every batch.
    history
        Open; gets a row a step.
    start
        Atoms to start from in place of the solver's own (K x n_r).
    watch
        Tells more of the atoms for each row; its time is not counted.
    """
    compile_loops(config)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        return normalisation(*pairs(step))

    def keep(atoms: Tensor, row: Row) -> None:
        history.add(row | watch({"decoder": atoms / normalisation.scale_r}) if watch else row)

    found = find(lambda step: batch(step)[1], config, generator, start, keep)
    atoms, step = found.atoms, int(found.rows[-1]["step"])
    began = time.perf_counter()
    fit, loss, fvu, l0 = EncoderFit(len(atoms), sum(sites[0]), config.encoder_ridge), 0.0, 0.0, 0.0
    for later in range(step, step + ENCODER_STEPS):
        x_p, x_r = batch(later)
        codes = found.codes(x_r, config)
        if config.encoder != "pursuit":
            fit.add(x_p, codes)
        loss, l0 = float(codes.errors.mean()), codes.l0
        fvu = loss / max(float(x_r.var(dim=0, correction=0).sum()), 1e-30)
    model = _coder(found, fit, config, sites)
    seconds = float(history.rows[-1]["seconds"]) + time.perf_counter() - began
    # the row of the finished dictionary: its codes' error, and the time with the encoder
    row = {**history.rows[-1], "step": step + 1, "loss": loss, "fvu": fvu, "l0": l0, "replaced": 0, "pruned": 0}
    row["samples"] += ENCODER_STEPS * len(x_r)
    history.add(row | {"seconds": round(seconds, 3)})
    return model


def _coder(
    found: Found, fit: EncoderFit, config: SolverConfig, sites: tuple[tuple[int, ...], tuple[int, ...]]
) -> SparseCoder:
    atoms = found.atoms
    if config.encoder == "pursuit":
        k = min(int(found.rows[-1]["support"]), len(atoms))
        model_config = ModelConfig(config.pair, config.activation, len(atoms), k, bias=True, pursuit=config.sweeps)
        weights = {"W_enc": atoms}
    else:
        encoder = fit.solve(config.encoder, atoms)
        model_config = ModelConfig(config.pair, config.activation, len(atoms), bias=True)
        weights = {"W_enc": encoder.W, "b_enc": encoder.b, "sigma.threshold": encoder.threshold}
    model = SparseCoder(model_config, *sites).eval()
    model.load_state_dict(model.state_dict() | weights | {"W_dec": atoms})
    return model


def compile_loops(config: SolverConfig) -> None:
    """Have numba compile, or load, what solvers run: the seconds of a history are to be those of work."""
    tiny = SolverConfig(
        config.solver, n_atoms=8, support=4, max_support=4, max_steps=1, precision=config.precision, own=config.own
    )
    x = torch.rand(32, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    atoms, row = next(solver_of(config.solver)(lambda step: x, tiny, torch.Generator().manual_seed(0), None))
    Found(atoms, [row]).codes(x, tiny)
