"""`judge`: score a dictionary of any library on a bench, and compare it with the kept results of other trainers."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from sdlcore.benches.lrb import Bench
from sdlcore.benches.synth import SynthBench
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import load
from sdlcore.evaluation.intervals import LEVEL
from sdlcore.evaluation.score import Scores, evaluate
from sdlcore.text import number, table

TEST_SAMPLES = 10_000
NEAR = 1.25
"""Kept results are compared if their mean L0 differs from the dictionary's by at most this factor."""
SHOWN = ("detection_f1", "mcc", "mip_decoder", "gt_recovery_decoder", "fvu", "l0", "dead_fraction")
"""Scores that are shown."""


class JudgedBench(NamedTuple):
    """A bench with kept results."""

    kind: type[Bench] | type[SynthBench]
    score: str
    """The score that methods are compared by."""
    settings: dict[str, Any]


_LRB = {"n": 128, "n_p": 96, "sparsity": 0.97, "max_interference": 0.2, "train_samples": 200_000}
_SYNTH = {"n": 1024, "n_p": 192, "roots": 8, "train_samples": 400_000}
BENCHES = {
    "lrb": JudgedBench(Bench, "mip_decoder", _LRB),
    "synthsaebench": JudgedBench(SynthBench, "detection_f1", _SYNTH),
}
"""The paper's bench with 128 features in 96 dimensions, and SynthSAEBench's distribution with 1,024 features in 192.
Kept methods trained for 2,000 steps, with 512 latents on ``lrb`` and 256 on ``synthsaebench``."""


@dataclass(frozen=True)
class Judgement:
    """The result of `judge`. It prints as two tables: the scores, and the comparison with kept methods."""

    bench: str
    seed: int
    scores: Scores
    """Scores on 10,000 test samples, with null baselines."""
    rows: list[dict[str, Any]]
    """A row for each kept method near the dictionary's L0: mean score and L0, seeds, difference of the dictionary's
    score with a 95 % interval (``low``, ``high``), and ``verdict``: better, worse or not told apart.
    ``pandas.DataFrame`` takes them."""

    def __repr__(self) -> str:
        """Return both tables with a legend."""
        nulls, score = self.scores.nulls, BENCHES[self.bench].score
        columns = {"value": self.scores.metrics, **nulls}
        score_rows = [[name, *(number(column[name]) for column in columns.values())] for name in SHOWN]
        lines = [
            f"{self.bench}, seed {self.seed}, {TEST_SAMPLES} test samples",
            table([["score", *columns], *score_rows]),
        ]
        lines += ["directions, samples: untrained dictionaries", ""]
        if (self.scores[score] or 0) <= (nulls["directions"][score] or 0):
            lines.append(f"It is no better than random directions: was it trained on the samples of seed {self.seed}?")
        if not self.rows:
            l0s = [row["l0"] for row in _kept_scores(self.bench)]
            return "\n".join([*lines, f"No kept method is near this L0: theirs are {min(l0s):.3g} to {max(l0s):.3g}."])
        comparison = [["kept method", score, "L0", "seeds", "difference", "95 % interval", "this dictionary is"]]
        for row in self.rows:
            numbers = [f"{row['mean']:.3f}", f"{row['l0']:.1f}", str(row["seeds"]), f"{row['difference']:+.3f}"]
            comparison.append([row["method"], *numbers, f"{row['low']:+.3f} to {row['high']:+.3f}", row["verdict"]])
        return "\n".join([*lines, table(comparison), f"verdicts are by {score} alone; about one in twenty is wrong"])


def judged_bench(bench: str, seed: int = 0) -> Bench | SynthBench:
    """Draw a bench that `judge` scores on: its ``sample()`` returns the training samples, for any trainer.

    Parameters
    ----------
    bench
        ``lrb`` or ``synthsaebench``.
    seed
        Seed of features and samples. Kept results use 0 to 4; another seed is a world that no setting was chosen on.

    Raises
    ------
    ValueError
        If there is no such bench.
    """
    if bench not in BENCHES:
        raise ValueError(f"bench: there is no {bench}; expected {' or '.join(BENCHES)}")
    chosen = BENCHES[bench]
    return chosen.kind.draw(seed=seed, test_samples=TEST_SAMPLES, **chosen.settings)


def judge(dictionary: Dictionary | str | Path, bench: str = "synthsaebench", seed: int = 0) -> Judgement:
    """Score a dictionary on a bench with known features, beside null baselines and kept results of other trainers.

    A kept method has five seeds, each on its own draw of the bench. The verdict is *better* or *worse* if the
    dictionary's score lies outside the 95 % prediction interval for a sixth seed, so two seeds of one method are told
    apart in one of twenty pairs.

    Parameters
    ----------
    dictionary
        A dictionary that was trained on the samples of ``judged_bench(bench, seed)``, or its path in any format of
        `load`.
    bench
        ``lrb`` or ``synthsaebench``.
    seed
        Seed of the samples that it was trained on.

    Raises
    ------
    ValueError
        If there is no such bench, or the dictionary reads another number of dimensions.
    """
    world = judged_bench(bench, seed)
    found = dictionary if isinstance(dictionary, Dictionary) else load(dictionary)
    scores = evaluate(found, world)
    value, l0 = scores[BENCHES[bench].score], scores["l0"]
    rows = [] if value is None or l0 is None else compared(value, l0, _kept_scores(bench))
    return Judgement(bench, seed, scores, rows)


def compared(value: float, l0: float, kept_scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare a score with kept methods near an L0, the highest mean first; ``kept_scores`` has a row for each seed."""
    rows = []
    for method in dict.fromkeys(row["method"] for row in kept_scores):
        of_method = [row for row in kept_scores if row["method"] == method]
        scores = np.array([row["score"] for row in of_method])
        n, mean, mean_l0 = len(scores), float(scores.mean()), float(np.mean([row["l0"] for row in of_method]))
        if not 1 / NEAR <= l0 / mean_l0 <= NEAR:
            continue
        reach = scipy.special.stdtrit(n - 1, (1 + LEVEL) / 2) * scores.std(ddof=1) * math.sqrt(1 + 1 / n)
        difference = value - mean
        verdict = "not told apart" if abs(difference) <= reach else "better" if difference > 0 else "worse"
        interval = {"difference": difference, "low": difference - reach, "high": difference + reach}
        rows.append({"method": method, "mean": mean, "l0": mean_l0, "seeds": n, **interval, "verdict": verdict})
    return sorted(rows, key=lambda row: -row["mean"])


@cache
def _kept_scores(bench: str) -> list[dict[str, Any]]:
    """Return the kept results of a bench: method, score and L0 of each seed."""
    text = (files("sdlcore") / "kept_scores.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["bench"] == bench]
    return [{"method": row["method"], "score": float(row["score"]), "l0": float(row["l0"])} for row in rows]
