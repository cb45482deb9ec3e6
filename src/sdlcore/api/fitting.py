"""Find a dictionary of activations in memory or in a store: by gradient descent, or by a solver."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sdlcore.api.anchors import as_anchors
from sdlcore.api.bench import Bench
from sdlcore.api.dictionary import Dictionary
from sdlcore.api.inputs import activations, pair_of
from sdlcore.api.signatures import listing_settings
from sdlcore.data.anchors import Anchors
from sdlcore.data.batches import BatchReader, TrainingRows
from sdlcore.data.memory import Activations, Arrays
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.data.references import References
from sdlcore.device import Device, choose_device
from sdlcore.random_streams import stream
from sdlcore.run import RunConfig
from sdlcore.solvers.run_solver import solve_dictionary
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import provenance
from sdlcore.training.history import History, Row, Write
from sdlcore.training.loop import Checkpointing
from sdlcore.training.train_dictionary import train_dictionary
from sdlcore.training.watch import watch_directions


@listing_settings
def fit(
    x: Any,
    target: Any = None,
    *,
    seed: int = 0,
    anchors: Anchors | np.ndarray | Sequence[np.ndarray] | None = None,
    start: Dictionary | None = None,
    watch: Bench | References | None = None,
    device: Device = "auto",
    progress: bool = True,
    checkpoint: str | Path | None = None,
    **settings: Any,
) -> Dictionary:
    """Find a dictionary of activations, and return it ready for raw activations.

    ``fit(x)`` trains an autoencoder, ``fit(x, target)`` a transcoder, ``fit([x1, x2])`` a crosscoder, and
    ``fit(x, solver="acs")`` solves for a dictionary without gradient descent.

    Parameters
    ----------
    x
        N x n_p activations: an array, a tensor, a path of an .npy file, or an activation store (then with its target,
        if ``pair`` asks for it). It is shuffled batch by batch, and never copied as a whole.
    target
        N x n_r activations that a transcoder writes.
    seed
        Of everything that is drawn. The same call gives the same bits.
    anchors
        Directions that the first latents are tied to; needs ``lambda_anchor`` or ``anchor_cosine``. `Bench.anchors`,
        `References.choose` and `discover` give them; so does an array of unit rows, k x n_p, or a pair of arrays.
    start
        A dictionary whose latents the first latents start from.
    watch
        A bench, or references; the history then tells how many of these directions are recovered.
    device
        auto, cpu or cuda.
    progress
        Show a bar.
    checkpoint
        A .safetensors file that the training keeps up to date, and goes on from if it is there and of the same
        training. It is removed at the end.
    **settings
        Any setting of a method or protocol in the configuration, with the same default: ``activation``, ``n_q``,
        ``k``, ``steps``, ``batch_size``, ``lr``, ... (`sdlcore.run`), or, with ``solver``, those of a solver
        (`sdlcore.solvers.settings`). ``help(sdl.fit)`` lists them.

    Raises
    ------
    ValueError
        Naming the setting, or the input, that is wrong.
    DivergedError
        If the loss becomes infinite; the message says what to change.
    """
    settings["pair"] = pair_of(x, target, settings.get("pair"))
    config = config_of(settings)
    if isinstance(config, SolverConfig):
        for name, value in (("anchors", anchors), ("checkpoint", checkpoint)):
            if value is not None:
                raise ValueError(f"{name} has no meaning for a solver, which trains nothing")
    else:
        _warn_of_dense(config)
    given = None if anchors is None else as_anchors(anchors)
    where = choose_device(device)
    directions = watch.references if isinstance(watch, Bench) else watch
    watching = None if directions is None else watch_directions(directions.W_p, directions.W_r, settings["pair"])
    with activations(x, target) as samples:
        if given is not None and given.w_p.shape[1] != samples.n_p:
            raise ValueError(f"anchors have {given.w_p.shape[1]} dimensions, but x has {samples.n_p}")
        facts = made_by(config, seed, where)
        facts["inputs"] = {"store": _digest(samples), "anchors": None if given is None else _digest_of(*given[:2])}
        if isinstance(samples, ActivationStore) and "separator" in samples.provenance:  # of a language model
            facts["activations"] = samples.provenance
        if isinstance(config, SolverConfig):
            sinks = [partial(bar, config.max_steps)] if progress else []
            with History(sinks=sinks) as history:
                atoms = None if start is None else start.W_dec.cpu()
                model = solve_dictionary(samples, config, seed, history, atoms, watching)
            return Dictionary(model, facts, history.rows)
        keep = None if checkpoint is None else _checkpointing(checkpoint, facts)
        model, rows = train_dictionary(
            _rows(samples, config, seed),
            config,
            seed,
            where,
            given,
            None if start is None else start.coder,
            [partial(bar, config.training.steps)] if progress else [],
            watching,
            keep,
        )
    if keep is not None:
        keep.path.unlink(missing_ok=True)
    return Dictionary(model, facts, rows, given)


def config_of(settings: Mapping[str, Any]) -> RunConfig | SolverConfig:
    """Return the settings of a training, or of a solver where one is named; ValueError if they are none."""
    return SolverConfig.from_dict(settings) if "solver" in settings else RunConfig.from_dict(settings)


def made_by(config: RunConfig | SolverConfig, seed: int, device: torch.device) -> dict[str, Any]:
    """Return what makes a dictionary but for what it is fitted to, for provenance."""
    return provenance(__file__, config.parts, settings=config.to_dict(), seed=seed, device=device.type)


@contextmanager
def bar(steps: int, rows: Sequence[Row]) -> Iterator[Write]:
    """Show a bar of ``steps`` steps with loss and L0 of the last row: a sink of a history."""
    with tqdm(total=steps, initial=int(rows[-1]["step"]) if rows else 0, unit="step") as shown:

        def write(row: Row) -> None:
            shown.set_postfix({name: f"{row[name]:.4g}" for name in ("loss", "fvu", "l0")}, refresh=False)
            shown.update(int(row["step"]) - shown.n)

        yield write


def _rows(samples: Activations, config: RunConfig, seed: int) -> TrainingRows:
    reader = BatchReader(samples, config.model.pair, config.training.batch_size, partial(stream, seed, "order"))
    return TrainingRows(samples.n_p, samples.n_r, reader, lambda: samples)


def _warn_of_dense(config: RunConfig) -> None:
    loss = config.loss
    if config.model.activation in ("relu", "jumprelu") and not (loss.l1 or loss.l0):
        warnings.warn(
            f"activation {config.model.activation} without a penalty leaves latents dense; "
            'set l1 (or l0), or activation="topk" and k',
            stacklevel=3,
        )


def _digest(samples: Activations) -> str:
    if not isinstance(samples, Arrays):
        return content_digest(samples.path)
    columns = ["input", *(["target"] if samples.has("target") else [])]
    return _digest_of(*(samples.column(name) for name in columns))


def _digest_of(*arrays: np.ndarray | None) -> str:
    """Return a hex SHA-256 of arrays, by blocks of rows."""
    total = hashlib.sha256()
    for values in arrays:
        if values is not None:
            total.update(f"{values.dtype} {values.shape}".encode())
            for start in range(0, len(values), 8192):
                total.update(np.ascontiguousarray(values[start : start + 8192]).data)
    return total.hexdigest()


def _checkpointing(path: str | Path, facts: dict[str, Any]) -> Checkpointing:
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"checkpoint is {path}, expected a .safetensors file")
    return Checkpointing(Path(path), hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest())
