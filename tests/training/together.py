"""Trainings by several processes, for test_distributed: `python -m tests.training.together FOLDER`, once a process.

The folder has ``cases.json``. Each training leaves ``CASE.SPLIT.RANK.safetensors`` there.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from sdlcore.model import SparseCoder
from sdlcore.processes import ALONE, Processes
from sdlcore.run import RunConfig
from sdlcore.streams import stream, torch_stream
from sdlcore.training.distributed import divide, processes_of, unite
from sdlcore.training.loop import train
from sdlcore.training.normalisation import identity

D, SAMPLES = 12, 2048
BASE = {"n_q": 48, "steps": 40, "batch_size": 64, "lr": 3e-3, "log_every": 5}
LATENT = stream(0, "directions").standard_normal((24, D))
X = np.maximum(stream(0, "code").standard_normal((SAMPLES, 24)) - 1.3, 0) @ LATENT
ANCHORS = torch.nn.functional.normalize(torch.from_numpy(LATENT[:5]))


def batches(step):
    rows = stream(5, "batch", step).integers(SAMPLES, size=BASE["batch_size"])
    x = X[rows].astype(str(torch.get_default_dtype()).removeprefix("torch."))
    return x, x


def training(settings, processes=ALONE):
    """Train, and return the dictionary as the first process has it, the history, and what a process has of its own."""
    # where nothing is rounded much, trainings that differ in the order of sums stay together
    torch.set_default_dtype(torch.float32 if "precision" in settings else torch.float64)
    config = RunConfig.from_dict({**BASE, **settings})
    model = SparseCoder(config.model, (D,), (D,), torch_stream(1, "initialisation"))
    if processes.all.size > 1:
        divide(model, processes)
    anchors = (ANCHORS.to(model.W_enc.dtype),) * 2 if config.loss.lambda_anchor else None
    history = train(model, batches, config, torch_stream(1, "resampling"), identity(D, D), anchors)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    unite(model)
    torch.set_default_dtype(torch.float32)
    return model, history, own


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with processes_of("samples", RunConfig.from_dict(BASE)) as (several, _):
        for case, settings in json.loads((folder / "cases.json").read_text()).items():
            for split in ("samples", "latents"):
                model, history, own = training(settings, Processes(**{split: several}))
                tensors = {f"whole/{name}": tensor.detach() for name, tensor in model.state_dict().items()}
                tensors |= {f"own/{name}": tensor for name, tensor in own.items()}
                path = folder / f"{case}.{split}.{several.rank}.safetensors"
                save_file(tensors, path, {"history": json.dumps(history)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
