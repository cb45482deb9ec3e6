"""Trainings by several processes, for test_distributed.

`python -m tests.training.together` forks the requested processes (`tests.forking`).
"""

import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import torch
from safetensors.torch import save_file

from sdlcore.config import Config
from sdlcore.model.archetypes import Archetypes
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import no_scaling
from sdlcore.processes import ALONE, Processes
from sdlcore.random_streams import stream, torch_stream
from sdlcore.sparse.kernels import choice, cpu, cpu_pursuit, cpu_round, cpu_rows, cpu_select  # noqa: F401, to be there before a fork
from sdlcore.sparse.kernels.interface import Descent, Kernels
from sdlcore.training.distributed import processes_of, share
from sdlcore.training.loop import train
from tests.conftest import REPOSITORY
from tests.forking import serve

SCRIPT = REPOSITORY / "workflow/scripts/train.py"
D, SAMPLES = 12, 2048
BASE = {"n_q": 48, "steps": 24, "batch_size": 64, "lr": 3e-3, "log_every": 4}
DIRECTIONS = stream(0, "directions").standard_normal((24, D))
X = np.maximum(stream(0, "code").standard_normal((SAMPLES, 24)) - 1.3, 0) @ DIRECTIONS
# no two rows have the same direction: latents resampled at such rows would be duplicates, of which either may be kept
X += 0.05 * stream(0, "noise").standard_normal(X.shape)
ANCHORS = torch.nn.functional.normalize(torch.from_numpy(DIRECTIONS[:5]))


def norms_by_latent(weights: dict) -> dict[str, float]:
    """Return a number that depends on the position of each latent."""
    return {side: float((W.detach().norm(dim=1) * torch.arange(len(W))).sum()) for side, W in weights.items()}


class DoubleKernels(Kernels):
    """Torch's kernels with double precision; torch's Adam divides gradients by a scale only in single precision."""

    def adam(
        self,
        descents: Sequence[Descent],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        scale: torch.Tensor | None = None,
    ) -> None:
        if scale is not None:
            descents = [each._replace(gradient=each.gradient / scale) for each in descents]
            descents = [each if each.along is None else each._replace(along=each.along / scale) for each in descents]
        super().adam(descents, lr, betas, eps)


@contextmanager
def computing_with(kernels: str) -> Iterator[None]:
    """Compute with numba's kernels, or with torch's."""
    numba_kernels = choice.NumbaKernels
    if kernels == "torch":
        choice.NumbaKernels = lambda workspace=None: DoubleKernels()
    try:
        yield
    finally:
        choice.NumbaKernels = numba_kernels


def training(settings: dict, processes: Processes = ALONE, kernels: str = "numba") -> tuple[SparseCoder, list]:
    """Train; return the dictionary and the history.

    ``kernels`` compute in double precision, for which numba would have to compile all of its kernels. Otherwise numba's
    kernels are used.
    """
    # with little rounding, trainings that differ only in the order of sums stay together
    dtype = torch.float32 if "precision" in settings else torch.float64
    x = torch.from_numpy(X).to(dtype).numpy()

    def batches(step):
        rows = stream(5, "batch", step).permutation(SAMPLES)[: BASE["batch_size"]]
        # a different target, which only transcoders have
        return x[rows], x[rows] if settings.get("pair", "sae") == "sae" else x[rows][:, ::-1].copy()

    config = Config.from_dict({**BASE, **settings})
    sites = (D // 2, D // 2) if config.pair == "crosscoder" else (D,)
    model = SparseCoder.from_config(config.model, sites, sites, torch_stream(1, "initialisation")).to(dtype)
    if config.archetypes is not None:
        centroids = torch.from_numpy(x[: config.archetypes].copy())
        model.archetypes = Archetypes(centroids, config.n_q, config.relaxation)
        model.constrain()
    if processes.size > 1:
        share(model, processes)
    anchors = (ANCHORS.to(dtype), ANCHORS.to(dtype)) if config.lambda_anchor else None
    generator = torch_stream(1, "resampling")
    with computing_with(kernels if dtype == torch.float64 else "numba"):
        history = train(model, batches, config, generator, no_scaling(D, D), anchors, watch=norms_by_latent)
    return model, history


def train_cases(folder: Path, kernels: str) -> None:
    """Train every case of ``cases.json``, and write ``CASE.RANK.safetensors``."""
    with processes_of(Config.from_dict(BASE)) as several:
        for case, settings in json.loads((folder / "cases.json").read_text()).items():
            model, history = training(settings, several, kernels)
            tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            save_file(tensors, folder / f"{case}.{several.rank}.safetensors", {"history": json.dumps(history)})


def answer(request: dict) -> None:
    torch.set_num_threads(1)
    if "cases" in request:
        train_cases(Path(request["cases"]), request["kernels"])
    else:
        sys.argv = request["command"]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    # work that each process would repeat, as in workflow/warm.py
    numba.njit(lambda: None)()
    serve(answer)
