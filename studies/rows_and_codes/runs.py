"""Rows or codes? Score kinds of codes for kinds of decoder rows on worlds with SynthSAEBench's distribution.

    python -m studies.rows_and_codes.runs small --seeds 0 1 2 3 4

It needs SAELens, whose evaluator judges (`make peers`). Rows of each world are trained or taken from the world once, in
``results/rows_and_codes/``. Scores go to ``resources/kept/posterior_rows_and_codes.csv``, one by one. An
interrupted call goes on.
"""

import argparse
import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from sae_lens.synthetic import eval_sae_on_synthetic_data
from torch import Tensor

import sdlcore as sdl
from sdlcore.benches.saelens_evaluation import FeatureVectors
from studies import KEPT
from studies.rows_and_codes.codes import Coded, batchtopk_at, least_squares_on, mean_l0, microseconds, unit
from studies.rows_and_codes.worlds import our_world, saelens_world
from studies.tables import add, finished

log = logging.getLogger("rows_and_codes")
TABLE = KEPT / "posterior_rows_and_codes.csv"
KEYS = ["size", "seed", "rows", "codes"]
BATCH = 1024
DETACHED = "ours, detached"
"""Rows of our recipe at the small size with detached prefixes; at full size, all rows of ours have them."""


class Size(NamedTuple):
    """A size of the bench, with the trainings that suit it."""

    world: dict[str, int]
    n_q: int
    k: int
    recipe: dict[str, Any]
    prefixes: list[int]
    steps: int
    """Steps of our recipe."""
    saelens_steps: tuple[int, ...]
    """Steps of SAELens' recipe, each a training of its own."""
    judged: int
    """Samples that SAELens' evaluator draws."""
    longer: tuple[int, ...] = ()
    """Steps of longer trainings by our recipe."""


MATRYOSHKA: dict[str, Any] = {"activation": "batchtopk", "bias": True}
SAELENS: dict[str, Any] = {
    **MATRYOSHKA,
    "lr": 3e-4,
    "lr_warmup": 0,
    "lr_decay": 1 / 3,
    "normalise": False,
    "decoder_norm": "unit",
    "lambda_aux": 1 / 32,
}
"""Settings of the published Matryoshka: learning rate, the sum over prefixes."""
SIZES = {
    "small": Size(
        {"n": 1024, "n_p": 192, "roots": 8},
        256,
        6,
        {**MATRYOSHKA, "k": 6, "prefixes": [8, 32, 128, 256], "lr": 3e-3},
        [8, 32, 128, 256],
        3_000,
        (3_000, 10_000),
        20_000,
    ),
    "full": Size(
        {},
        4096,
        25,
        {
            **MATRYOSHKA,
            "k": 25,
            "k_start": 80,
            "k_decay": 1,
            "prefixes": [128, 512, 2048, 4096],
            "prefix_detached": True,
            "reorder_every": 100,
            "lr": 3e-3,
            "lr_decay": 0.33,
        },
        [128, 512, 2048, 4096],
        2_000,
        (2_000,),
        200_000,
    ),
}
SIZES["saelens"] = SIZES["full"]._replace(saelens_steps=(2_000, 10_000), judged=100_000, longer=(10_000,))
"""The full size, in worlds that SAELens' code draws."""
TUNING = 8192
"""Samples that thresholds are set on."""
REENCODED = 1_000
"""Steps of an encoder that is fitted to rows."""
LOGISTIC = {
    "logistic encoder": REENCODED,
    "logistic encoder, twice the samples": 2 * REENCODED,
    "logistic encoder, four times the samples": 4 * REENCODED,
}

JUDGE = (
    "classification/f1_score",
    "classification/precision",
    "classification/recall",
    "mcc",
    "uniqueness",
    "sae_l0",
    "explained_variance",
)


class Rows:
    """The dictionaries of a world whose rows are compared, in a folder."""

    def __init__(self, size: str, seed: int, folder: Path, refined: Path | None = None) -> None:
        self.size, self.seed, self.refined = SIZES[size], seed, refined
        self.folder = folder / f"{size}{seed}"
        if size == "saelens":
            self.world = saelens_world(seed, self.folder / "world", self.size.judged)
        else:
            self.world = our_world(seed, self.size.world, self.size.judged)

    def names(self) -> list[str]:
        saelens = [f"SAELens' recipe, {BATCH * steps:,} samples" for steps in self.size.saelens_steps]
        longer = [f"ours, {BATCH * steps:,} samples" for steps in self.size.longer]
        ours = ["ours", *([] if self.size.recipe.get("prefix_detached") else [DETACHED]), *longer]
        return [*ours, *saelens, *(f"{name}, refined" for name in (*ours, *saelens)), "true"]

    def dictionary(self, name: str) -> sdl.Dictionary:
        """Return a dictionary with trained, refined or true rows. Only trained ones have an encoder of their own."""
        out, size = self.folder / name.replace(" ", "_").replace("'", ""), self.size
        if name == "true":
            config = sdl.fit(self.samples(0), activation="topk", k=size.k, n_q=size.n_q, steps=1, progress=False)
            rows = torch.from_numpy(np.ascontiguousarray(self.world.W_p.T[: size.n_q], dtype=np.float32))
            bias = torch.from_numpy(self.world.bias)
            weights = {"W_enc": rows, "W_dec": rows, "b_dec": bias, "b_enc": -rows @ bias}
            config.coder.load_state_dict(config.coder.state_dict() | weights)
            return sdl.search(sdl.Dictionary(config.coder, {}), method="omp")
        if name.endswith(", refined"):
            if self.refined is not None:
                return sdl.load(self.refined)
            trained = self.dictionary(name.removesuffix(", refined"))
            return sdl.refine(trained, self.samples(1), rounds=10, out=out, progress=False)
        settings = size.recipe if name.startswith("ours") else SAELENS | {"k": size.k, "prefixes": size.prefixes}
        if name == DETACHED:
            settings = settings | {"prefix_detached": True, "reorder_every": 50}
        steps = int(name.split()[-2].replace(",", "")) // BATCH if name.endswith(" samples") else size.steps
        return sdl.fit(self.samples(0), n_q=size.n_q, steps=steps, seed=self.seed, out=out, progress=False, **settings)

    def samples(self, part: int) -> Callable[[int], Tensor]:
        """Return a function from a step to new samples. Parts have no sample in common."""

        def batch(step: int) -> Tensor:
            return self.world.samples(part * 10**9 + step * BATCH, BATCH)

        return batch

    def held_out(self, n: int) -> tuple[Tensor, Tensor]:
        """Return samples that nothing is trained on, and which features are active in them (N x n)."""
        first = 9 * 10**9
        return self.world.samples(first, n), torch.from_numpy(self.world.coefficients(first, n).toarray() > 0)


def kinds(rows: Rows, name: str) -> Iterator[tuple[str, Callable[[], Coded]]]:
    """Yield each kind of codes for the rows, with a function that tunes it to the L0 of posterior codes.

    Only the trained encoder keeps its own L0.
    """
    dictionary = rows.dictionary(name)
    x, _ = rows.held_out(TUNING)
    if name != "true" and "refined" not in name:
        yield "trained encoder", lambda: Coded.from_dictionary(dictionary)
    posterior = dictionary if "refined" in name else sdl.search(dictionary, rows.samples(2), progress=False)
    yield "posterior", lambda: Coded.from_dictionary(posterior)
    l0 = mean_l0(Coded.from_dictionary(posterior), x)
    if name != "true" and "refined" not in name:
        yield "trained encoder, equal L0", lambda: Coded.from_dictionary(batchtopk_at(dictionary, x, l0))
    yield "BatchTopK encoder, trained anew", lambda: plain_encoder(rows, posterior, x, l0)

    def logistic(steps: int) -> Coded:
        return Coded.from_dictionary(sdl.reencode(posterior, rows.samples(3), l0=l0, steps=steps, progress=False))

    for title, steps in LOGISTIC.items():
        yield title, partial(logistic, steps)
    yield (
        "OMP with a threshold",
        lambda: Coded.from_dictionary(sdl.search(posterior, x, "omp", l0=l0, progress=False)),
    )
    yield "OMP, fixed k", lambda: Coded.from_dictionary(sdl.search(posterior, method="omp", k=round(l0)))


def plain_encoder(rows: Rows, posterior: sdl.Dictionary, x: Tensor, l0: float) -> Coded:
    """Train a BatchTopK encoder with frozen rows, and set its threshold."""
    start = sdl.reencode(posterior, rows.samples(3), "batchtopk", l0=max(1, round(l0)), steps=1, progress=False)
    settings: dict[str, Any] = {"frozen": "decoder", "normalise": True, "lr": 1e-3}
    fitted = sdl.fit(rows.samples(3), start=start, steps=REENCODED, progress=False, **settings)
    return Coded.from_dictionary(batchtopk_at(fitted, x, l0))


@torch.no_grad()
def scores(rows: Rows, coded: Coded) -> dict[str, float]:
    """Return SAELens' scores of a dictionary, and our FVU, coverage and processor time."""
    rows.world.judge.next = 0
    features = FeatureVectors(rows.world.W_p, rows.world.bias)
    sae: Any = SimpleNamespace(W_dec=coded.W_dec, encode=coded.encode, decode=coded.decode, eval=lambda: None)
    judged = eval_sae_on_synthetic_data(sae, features, rows.world.judge, num_samples=rows.size.judged, batch_size=1024)
    found = judged.to_log_dict()
    x, active = rows.held_out(4 * TUNING)
    x, active = x[TUNING:], active[TUNING:]
    residual = torch.cat([part - coded.decode(coded.encode(part)) for part in x.split(2048)])
    return {
        **{name.removeprefix("classification/"): found[name] for name in JUDGE},
        "fvu": float(residual.square().sum() / (x - x.mean(0)).square().sum()),
        "coverage": coverage(rows, coded.W_dec),
        "microseconds": microseconds(coded.encode, x[:4096]),
    }


def nearest_features(rows: Rows, W_dec: Tensor) -> Tensor:
    """Return the feature with the largest absolute cosine with each latent's row."""
    return (torch.nn.functional.normalize(W_dec) @ torch.from_numpy(rows.world.W_p)).abs().argmax(1)


def coverage(rows: Rows, W_dec: Tensor) -> float:
    """Return the share of the n_q most frequent features that are nearest to a latent."""
    nearest = nearest_features(rows, W_dec).unique()
    return float((nearest < rows.size.n_q).sum()) / rows.size.n_q


@torch.no_grad()
def true_supports(rows: Rows, dictionary: sdl.Dictionary) -> dict[str, float]:
    """Return FVU and L0 of least squares on true supports: a latent is active if its nearest feature is."""
    x, active = rows.held_out(TUNING)
    W_dec, b_dec = unit(dictionary)
    supports = active[:, nearest_features(rows, W_dec)]
    codes = least_squares_on(W_dec, x - b_dec, supports)
    residual = x - b_dec - codes @ W_dec
    return {
        "f1_score": 1.0,
        "sae_l0": float(supports.sum(1).float().mean()),
        "fvu": float(residual.square().sum() / (x - x.mean(0)).square().sum()),
        "coverage": coverage(rows, W_dec),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--folder", type=Path, default=Path("results/rows_and_codes"))
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument(
        "--refined", type=Path, help="run of the pipeline whose rows are scored, on our world of the seed"
    )
    parser.add_argument("--codes", nargs="+", help="kinds of codes; all if left out")
    parser.add_argument("--rows", nargs="+", help="names of rows; by default all short trainings")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for seed in arguments.seeds:
        rows = Rows(arguments.size, seed, arguments.folder, arguments.refined)
        names = [name for name in rows.names() if not re.search(r"10,240,000|SAELens.*refined", name)]
        for name in ["ours, refined"] if arguments.refined else arguments.rows or names:
            if name not in rows.names():
                parser.error(f"--rows {name}: expected one of {', '.join(rows.names())}")
            done = finished(arguments.table, KEYS)
            key = arguments.size, str(seed), name
            if (*key, "true supports") in done:
                continue
            for kind, tuned in kinds(rows, name):
                if (*key, kind) not in done and kind in (arguments.codes or [kind]):
                    start = time.process_time()
                    coded = tuned()
                    seconds = time.process_time() - start
                    write(arguments.table, (*key, kind), {**scores(rows, coded), "tuning_seconds": seconds})
            if "true supports" in (arguments.codes or ["true supports"]):
                write(arguments.table, (*key, "true supports"), true_supports(rows, rows.dictionary(name)))


def write(table: Path, key: tuple[str, ...], measured: dict[str, float]) -> None:
    add(table, [dict(zip(KEYS, key, strict=True)) | measured], KEYS)
    log.info("%s: %s", " ".join(key), {name: round(value, 3) for name, value in measured.items()})


if __name__ == "__main__":
    main()
