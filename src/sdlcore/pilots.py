"""The pilots of `suggest`: short trainings on the same samples, with their scores, and null baselines beside them."""

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from sdlcore.codes.search import search
from sdlcore.config import is_centred
from sdlcore.data.arrays import Arrays
from sdlcore.data.batches import Request
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.errors import DivergedError
from sdlcore.evaluation.intervals import paired_interval
from sdlcore.evaluation.score import evaluate, null_dictionaries
from sdlcore.fitting.fit import fit
from sdlcore.inputs import open_batches

METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk", "lambda_aux": 1 / 32},
    "batchtopk": {"activation": "batchtopk", "lambda_aux": 1 / 32},
    "jumprelu": {"activation": "jumprelu", "bias": True, "l0": 0.03, "bandwidth": 1.5, "l0_gain": 0.1},
    "relu": {"activation": "relu", "bias": True, "l1": 0.1, "l0_gain": 0.1},
    "matryoshka": {"activation": "batchtopk", "lambda_aux": 1 / 32, "prefixes": (1 / 16, 1 / 4, 1)},
    "matching_pursuit": {
        "activation": "matching_pursuit",
        "tied": True,
        "decoder_norm": "unit",
        "initialisation": "tied",
    },
}
"""Settings of each method, from kept trials on other data (`methods_trials.csv`). Prefixes are shares of latents."""
RATES = (1e-3, 3e-3, 1e-2)
"""Learning rates of the first round."""
SEEDS = (0, 1, 2)
"""Seeds of the last round."""
TRAIN_ROWS, TEST_ROWS = 262_144, 8192
"""Largest numbers of samples that pilots train on and are tested on."""
TIMED_STEPS = 10
NEAR = 1.1
"""A method counts as having the requested L0 if its own is at most this many times as large."""
Size = tuple[int, int]
"""Number of latents, and the requested L0."""


class Pilots:
    """Pilots on the same samples. A pilot that is asked for again is not trained again."""

    def __init__(self, train: np.ndarray, test: np.ndarray, batch_size: int, seed: int, progress: bool) -> None:
        self.train, self.test, self.batch_size, self.seed, self.progress = train, test, batch_size, seed, progress
        self.done: dict[tuple[Any, ...], dict[str, Any]] = {}
        if progress:
            print(f"{len(train)} samples to train on, {len(test)} held out; compiling kernels", flush=True)

    def settings(self, name: str, size: Size) -> dict[str, Any]:
        """Return the keywords of `fit` for a method."""
        n_q, l0 = size
        target = {"init_l0": l0, "target_l0": l0} if "l0_gain" in METHODS[name] else {"k": l0}
        settings = METHODS[name] | {"n_q": n_q} | target
        if "prefixes" in settings:
            settings["prefixes"] = [max(1, int(share * n_q)) for share in settings["prefixes"]]
        return settings

    def timed(self, name: str, size: Size) -> float:
        """Return the seconds of a step; the first training compiles kernels, the second is timed."""
        self._fit(name, RATES[0], size, TIMED_STEPS, 0)
        return self._fit(name, RATES[0], size, TIMED_STEPS, 0).history[-1]["seconds"] / TIMED_STEPS

    def remaining(self, budget: float) -> float:
        """Return the seconds of a budget that finished pilots have not used."""
        return max(0.0, budget - sum(pilot["seconds"] for pilot in self.done.values()))

    def seconds_per_step(self, name: str) -> float:
        """Return the seconds of a method's longest pilot for each of its steps, with its start and its scores."""
        longest = max((pilot for pilot in self.done.values() if pilot["method"] == name), key=lambda row: row["steps"])
        return float(longest["seconds"] / longest["steps"])

    def ranked(self, kinds: Sequence[tuple[str, float]], size: Size, steps: int) -> list[tuple[str, float]]:
        """Train each method with its rate, and return them by error; methods with a larger L0 come last."""
        found = {kind: self.pilot(*kind, size, steps, 0) for kind in kinds}
        return sorted(found, key=lambda kind: (found[kind]["l0"] > NEAR * size[1], found[kind]["fvu"]))

    def pilot(self, name: str, lr: float, size: Size, steps: int, seed: int, omp: bool = False) -> dict[str, Any]:
        """Train and score one pilot, also with OMP codes if ``omp``. If it diverges, its FVU and L0 are infinite."""
        key = name, lr, *size, steps, seed, omp
        if key not in self.done:
            began = time.monotonic()
            scores: dict[str, Any] = {"fvu": math.inf, "l0": math.inf, "dead": math.nan, "omp": None, "step": math.nan}
            with suppress(DivergedError):
                found = self._fit(name, lr, size, steps, seed)
                scores = self._scores(found) | {"omp": self._omp(found, size[1]) if omp else None}
                scores["step"] = found.history[-1]["seconds"] / steps
            kind = dict(zip(("method", "lr", "n_q", "target", "steps", "seed"), key, strict=False))
            self.done[key] = kind | scores | {"seconds": time.monotonic() - began}
            if self.progress:
                measured = f"FVU {scores['fvu']:.3f}, L0 {scores['l0']:.1f}"
                print(f"{name}, lr {lr:g}, {steps} steps, seed {seed}: {measured}", flush=True)
        return self.done[key]

    def extrapolated(self, row: dict[str, Any], size: Size, first: int, last: int, steps: int) -> dict[float, float]:
        """Return the FVUs of the rate of a row and of the next lower rate after ``steps`` steps, by rate.

        With a lower rate, the error falls later and further. The errors of each rate after ``first`` and ``last`` steps
        are continued as a power of the number of steps. Without two lengths or a lower rate, return the row's own FVU.
        """
        name, lr = row["method"], row["lr"]
        lower = [rate for rate in RATES if rate < lr]
        if first == last or last == steps or not lower:
            return {lr: row["fvu"]}

        def error(rate: float) -> float:
            early = self.pilot(name, rate, size, first, 0)["fvu"]
            late = self.pilot(name, rate, size, last, 0, omp=True)["fvu"]
            return float(late * (late / early) ** (math.log(steps / last) / math.log(last / first)))

        return {rate: error(rate) for rate in (lr, max(lower))}

    def row(self, name: str, lr: float, size: Size, steps: int) -> dict[str, Any]:
        """Train a method with several seeds, and return its row of the result."""
        pilots = [self.pilot(name, lr, size, steps, seed, omp=not seed) for seed in SEEDS]
        with np.errstate(invalid="ignore"):  # of a seed that diverged
            fvu, low, high = paired_interval([pilot["fvu"] for pilot in pilots])
        same = {key: pilots[0][key] for key in ("method", "lr", "n_q", "target", "steps", "omp")}
        means = {key: float(np.mean([pilot[key] for pilot in pilots])) for key in ("l0", "dead", "step")}
        seeds = [pilot["fvu"] for pilot in pilots]
        return {"null": False, **same, **means, "fvu": fvu, "low": low, "high": high, "seeds": seeds}

    def nulls(self, size: Size) -> list[dict[str, Any]]:
        """Return the rows of baselines: as many random samples as latents, and principal components."""
        n_q, target = size
        shape = self._fit("topk", RATES[0], size, 1, 0)
        baselines = null_dictionaries(shape.coder, Arrays(self.train), target, self.seed, is_centred(shape.settings))
        start = Dictionary(baselines["samples"])
        mean = self.train.mean(axis=0)
        components = np.linalg.svd((self.train - mean)[:TEST_ROWS], full_matrices=False)[2]
        held_out = self.test - mean
        values = held_out @ components.T
        smallest = np.argsort(-np.abs(values), axis=1)[:, target:]
        np.put_along_axis(values, smallest, 0, axis=1)
        unexplained = float(((held_out - values @ components) ** 2).sum() / (held_out**2).sum())
        null: dict[str, Any] = {"null": True, "n_q": n_q, "target": target, "low": math.nan, "high": math.nan}
        null |= dict.fromkeys(("lr", "omp", "dead", "step"))
        return [
            null | {"method": "random samples"} | self._scores(start) | {"omp": self._omp(start, target)},
            null | {"method": "principal components", "n_q": len(components), "fvu": unexplained, "l0": float(target)},
        ]

    def _fit(self, name: str, lr: float, size: Size, steps: int, seed: int) -> Dictionary:
        settings = self.settings(name, size) | {"lr": lr, "steps": steps, "batch_size": self.batch_size}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a large error, which a short training has
            return fit(self.train, seed=self.seed + seed, progress=False, **settings)

    def _scores(self, found: Dictionary) -> dict[str, Any]:
        scores = evaluate(found, x=self.test, nulls=False)
        return {"fvu": scores["fvu"], "l0": scores["l0"], "dead": scores["dead_fraction"]}

    def _omp(self, found: Dictionary, target: int) -> float | None:
        codes = search(found, self.train[:TEST_ROWS], "omp", l0=target, progress=False)
        return evaluate(codes, x=self.test, nulls=False)["fvu"]


def pilot_samples(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return samples to train on and to test on."""
    with open_batches(x) as batches:
        # of batches, at most 65,536 samples of as many batches as that takes
        samples = batches.samples or batches.begin(Request("sae", 0, 0, steps=10**6)).sample()
        number = samples.rows
        if number < 100:
            raise ValueError(f"x contains {number} samples, expected at least 100; a tenth of them is held out")
        held_out = min(TEST_ROWS, number // 10)
        train = samples.read("input", 0, min(TRAIN_ROWS, number - held_out))
        test = samples.read("input", number - held_out, number)
    return np.ascontiguousarray(train, np.float32), np.ascontiguousarray(test, np.float32)
