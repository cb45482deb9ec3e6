"""Does aligned training help: encoder row and decoder row of each latent with an inner product of one?

    python -m studies.aligned_training pilot resources/kept/aligned_training_pilot.csv
    python -m studies.aligned_training runs resources/kept/aligned_training.csv

arXiv 2605.18629 reports that a reparametrisation with this property removes dead latents, lowers the error and makes
dictionaries more stable over seeds. Only its abstract was at hand, so both obvious reparametrisations are tried. With a
free parameter f for each encoder row, and the decoder row d of the same latent, the encoder row is

- projected: f + (1 - f . d) d / |d|^2, where training cannot change the part along d
- scaled: f / (f . d)

Both start from encoder rows equal to decoder rows. Controls are the same training without alignment, with the auxiliary
loss, with resampling, with samples as initial rows, and with the start of the aligned arms. Aligned trainings run in an
own loop of `sdl.SparseCoder`, the controls in `sdl.fit`; an arm without alignment in the own loop shows whether the
loop matters. All arms take Adam at a constant rate, without clipping, and decoder rows of norm 1. The pilot chooses the
rate of each arm by held-out error on seed 100.

Measures on held-out samples: FVU, L0, and the share of latents that never fire. `stability` is the share of decoder
rows that two seeds of the training have in common, at a cosine of .7 or more; `mean_cosine` averages all matched rows.
On LRB, `recovery` is the MIP of decoder columns; the pilot has one world, all runs another.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sdlcore as sdl
from studies import KEPT, tables
from studies.anchoring_effect.runs import made_with
from studies.answers import GROUNDS

STEPS = 2000
DATA = ("clip", "lrb", "smollm2")
METHOD = "batchtopk"
RATES = (1e-3, 3e-3, 1e-2)
PILOT_SEED, SEEDS = 100, (0, 1, 2)
PILOT_WORLD, WORLD = 100, 101
"""Worlds of LRB: of the pilot, and of all runs."""
SHARED = 0.7
PLAIN: dict[str, Any] = {"lr_warmup": 0.0, "lr_decay": 0.0, "gradient_clip": None, "resample_every": None}
CONTROLS: dict[str, dict[str, Any]] = {
    "none": {},
    "auxiliary loss": {"lambda_aux": 1 / 32},
    "resampling": {"resample_every": 50},
    "samples": {"initialisation": "samples"},
    "tied": {"initialisation": "tied"},
}
Align = Callable[[Tensor, Tensor], Tensor]
KEYS = ("data", "method", "arm", "lr", "seed")


def projected(free_QP: Tensor, W_dec: Tensor) -> Tensor:
    """Return encoder rows whose part along the decoder row is fixed."""
    inner = (free_QP * W_dec).sum(dim=1, keepdim=True)
    return free_QP + (1 - inner) * W_dec / W_dec.square().sum(dim=1, keepdim=True)


def scaled(free_QP: Tensor, W_dec: Tensor) -> Tensor:
    """Return encoder rows divided by their inner product with the decoder row."""
    return free_QP / (free_QP * W_dec).sum(dim=1, keepdim=True)


def unaligned(free_QP: Tensor, W_dec: Tensor) -> Tensor:
    """Return the encoder rows."""
    return free_QP


LOOPS: dict[str, Align] = {"none, own loop": unaligned, "projected": projected, "scaled": scaled}
ARMS = (*CONTROLS, *LOOPS)


def shared_settings(data: str) -> dict[str, Any]:
    """Return the settings of all arms. Raw samples of LRB need neither biases nor normalisation."""
    k, n_q = GROUNDS[data].l0, GROUNDS[data].sizes["n_q"]
    return {"activation": METHOD, "k": k, "n_q": n_q, "bias": data != "lrb", "decoder_norm": "unit"}


def looped(x: np.ndarray, align: Align, data: str, lr: float, seed: int) -> sdl.Dictionary:
    """Train in an own loop, with encoder rows computed from a free parameter before each step."""
    batch_size = GROUNDS[data].sizes["batch_size"]
    normalise = data != "lrb"
    start = {} if align is unaligned else CONTROLS["tied"]
    coder = sdl.SparseCoder(n_p=x.shape[1], seed=seed, normalise=normalise, **shared_settings(data), **start)
    free = nn.Parameter(coder.W_enc.detach().clone())
    others = [weight for name, weight in coder.named_parameters() if name != "W_enc" and weight.requires_grad]
    optimizer = torch.optim.Adam([free, *others], lr=lr)
    rng = np.random.default_rng(seed)
    samples = torch.from_numpy(x)
    if normalise:
        coder.loss(samples[: 2**16])  # sets the mean and the scale, as fit does on many samples
    for _ in range(STEPS):
        rows = align(free, coder.W_dec)
        with torch.no_grad():
            coder.W_enc.copy_(rows)
        coder.zero_grad()
        free.grad = None
        coder.loss(samples[rng.integers(0, len(x), batch_size)]).backward()
        rows.backward(coder.W_enc.grad)
        optimizer.step()
        coder.constrain()
    with torch.no_grad():
        coder.W_enc.copy_(align(free, coder.W_dec))
    return sdl.Dictionary(coder)


def trained(x: np.ndarray, data: str, arm: str, lr: float, seed: int) -> sdl.Dictionary:
    """Train one arm."""
    if arm in LOOPS:
        return looped(x, LOOPS[arm], data, lr, seed)
    settings = shared_settings(data) | PLAIN | CONTROLS[arm] | {"normalise": data != "lrb"}
    batch_size = GROUNDS[data].sizes["batch_size"]
    return sdl.fit(x, seed=seed, lr=lr, steps=STEPS, batch_size=batch_size, device="cpu", progress=False, **settings)


def measured(table: Path, key: Sequence[str], world: int) -> sdl.Dictionary:
    """Train one arm, add its row to the table, and return the dictionary."""
    data, _, arm, lr, seed = key
    began = process_time()
    train, test = GROUNDS[data].samples(world)
    found = trained(train, data, arm, float(lr), int(seed))
    scores = sdl.evaluate(found, x=test, nulls=False)
    row = dict(zip(KEYS, key, strict=True)) | {
        "fvu": scores["fvu"],
        "l0": scores["l0"],
        "dead": scores["dead_fraction"],
    }
    if data == "lrb":
        row["recovery"] = sdl.evaluate(found, sdl.judged_bench("lrb", world), nulls=False)["mip_decoder"]
    row["core_seconds"] = process_time() - began
    tables.add(table, [row | made_with()], KEYS)
    print(row, flush=True)
    return found


def pilot(table: Path) -> None:
    """Train each arm with each rate."""
    for data, arm, lr in product(DATA, ARMS, RATES):
        key = (data, METHOD, arm, f"{lr:.5g}", str(PILOT_SEED))
        if key not in tables.finished(table, KEYS):
            measured(table, key, PILOT_WORLD)


def runs(table: Path) -> None:
    """Train each arm with its best rate and three seeds, and compare the seeds.

    An interrupted arm trains all its seeds again, for the comparison.
    """
    pilots = tables.read(KEPT / "aligned_training_pilot.csv").astype({"fvu": float}).sort_values("fvu")
    for data, arm in product(DATA, ARMS):
        lr = pilots[(pilots["data"] == data) & (pilots["arm"] == arm)]["lr"].iloc[0]
        if (data, METHOD, arm, lr, f"{SEEDS[-2]} and {SEEDS[-1]}") in tables.finished(table, KEYS):
            continue
        found = {seed: measured(table, (data, METHOD, arm, lr, str(seed)), WORLD) for seed in SEEDS}
        for (first, second), sides in sdl.stability(found).items():
            key, cosines = (data, METHOD, arm, lr, f"{first} and {second}"), sides["decoder"]
            shared = {"stability": float((cosines >= SHARED).mean()), "mean_cosine": float(cosines.mean())}
            tables.add(table, [dict(zip(KEYS, key, strict=True)) | shared], KEYS)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure aligned training.")
    parser.add_argument("part", choices=("pilot", "runs"))
    parser.add_argument("table", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    (pilot if options.part == "pilot" else runs)(options.table)


if __name__ == "__main__":
    main()
