"""`suggest`: choose a method and its settings by short trainings on your own activations.

Pilots train in three rounds, each on a share of the time. The first round trains every method with every learning rate.
The second round trains the better half of them three times as long. The last round trains TopK and the best methods
with several seeds, at every L0. If its pilots are shorter than the training, the best method's next lower rate is tried
as well. Libraries for such searches (Optuna, scikit-learn's halving) rank trials by one number; here each method keeps
its own best rate, and the result is a table over methods and L0.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdlcore.evaluation.intervals import paired_interval
from sdlcore.extras import extra
from sdlcore.interop.export import refusal
from sdlcore.pilots import METHODS, NEAR, RATES, SEEDS, Pilots, pilot_samples
from sdlcore.storage.files import user_path
from sdlcore.text import table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SHARES = (0.2, 0.3)
"""Share of the remaining time for the first and the second round. The last round gets the rest."""
FINALISTS = 3
"""Methods of the last round, besides TopK."""
_ADAM = 4
"""Numbers that training keeps for each weight: the weight, its gradient and two moments."""


@dataclass(frozen=True)
class Advice:
    """The result of `suggest`. It prints as a table, a sentence and a call to paste."""

    rows: list[dict[str, Any]]
    """The last round: a row for each method and L0, with the FVU on held-out samples averaged over seeds. ``low`` and
    ``high`` are a 95 % t interval; ``omp`` is the FVU of orthogonal matching pursuit on the rows of the first seed.
    Null baselines follow: random samples with TopK codes and with OMP codes, and principal components."""
    pilots: list[dict[str, Any]]
    """Every pilot: method, lr, l0, steps, seed; FVU, L0 and share of dead latents on held-out samples; seconds."""
    settings: dict[str, Any]
    """Settings of the best method, as keywords of `fit`."""
    sentence: str
    """The advice with its margin."""
    n_p: int
    seconds_per_step: float
    """Seconds of a step with these settings on this machine."""

    @property
    def call(self) -> str:
        """The call of `fit` to paste."""
        return f"sdl.fit(x, {', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    def yaml(self) -> str:
        """The method for a configuration of the pipeline."""
        return f"methods:\n  suggested: {json.dumps(self.settings)}\n"

    def to_frame(self) -> "pd.DataFrame":
        """Return ``rows`` as a table."""
        with extra("tables"):
            import pandas as pd
        return pd.DataFrame(self.rows)

    def cost(self, tokens: float, bytes_per_number: int = 4) -> dict[str, float]:
        """Return the cost of one pass over ``tokens`` samples with the best settings, on this machine.

        Parameters
        ----------
        tokens
            Number of samples.
        bytes_per_number
            Bytes of a number in the store of activations: 4 for float32, 2 for float16.

        Returns
        -------
        ``hours`` of training, ``memory_gb`` of weights, gradients and Adam's moments, and ``disk_gb`` of a store of the
        samples.
        """
        steps = tokens / self.settings["batch_size"]
        weights = 2 * self.n_p * self.settings["n_q"]
        return {
            "hours": steps * self.seconds_per_step / 3600,
            "memory_gb": weights * 4 * _ADAM / 1e9,
            "disk_gb": tokens * self.n_p * bytes_per_number / 1e9,
        }

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Plot FVU over L0: a line for each method with its interval, OMP codes of its rows dashed, baselines grey."""
        from sdlcore.plot import _axes

        ax = _axes(ax)
        for number, name in enumerate(dict.fromkeys(row["method"] for row in self.rows)):
            rows = sorted((row for row in self.rows if row["method"] == name), key=lambda row: row["l0"])
            l0, fvu = ([row[key] for row in rows] for key in ("l0", "fvu"))
            null = rows[0]["null"]
            colour = "0.6" if null else f"C{number}"
            ax.plot(l0, fvu, marker="s" if null else "o", color=colour, label=name)
            if null:
                continue
            ends = [(row["fvu"] - row["low"], row["high"] - row["fvu"]) for row in rows]
            ax.errorbar(l0, fvu, np.nan_to_num(np.array(ends).T), color=colour, capsize=3)
            ax.plot([row["target"] for row in rows], [row["omp"] for row in rows], "--", color=colour, linewidth=1)
        ax.set(xlabel="L0 (active latents of a sample)", ylabel="FVU (share of the variance unexplained)", ylim=(0, 1))
        ax.legend(title="dashed: OMP on the same rows")
        return ax

    def __repr__(self) -> str:
        """Return the table of the last round, the advice and the call."""
        heads = ["method", "lr", "L0", "FVU", "95 % interval", "OMP", "dead"]
        cells = [
            [
                row["method"],
                "" if row["lr"] is None else f"{row['lr']:g}",
                f"{row['l0']:.1f}",
                f"{row['fvu']:.3g}" if row["fvu"] <= 1 else "> 1",
                "" if math.isnan(row["low"]) else f"{row['low']:.3g} to {row['high']:.3g}",
                "" if row["omp"] is None else f"{row['omp']:.3g}",
                "" if row["dead"] is None else f"{row['dead']:.0%}",
            ]
            for row in self.rows
        ]
        return "\n".join([table([heads, *cells]), "", self.sentence, "", self.call])


def suggest(
    x: Any,
    minutes: float = 10,
    l0: int | Sequence[int] = 32,
    *,
    n_q: int | None = None,
    methods: Sequence[str] = tuple(METHODS),
    opens_in: str | None = None,
    steps: int = 2000,
    batch_size: int = 1024,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Advice:
    """Train short pilots on your activations, and return which method and settings to use.

    Methods are ranked by the error that they leave on held-out samples at the same L0. A low error does not show that
    latents match features: `evaluate` with known features, or `probe` with labels, measures that.

    Parameters
    ----------
    x
        N x n_p activations, or batches, as in `fit`. Pilots train on the first samples, at most 262,144, and are tested
        on the last, at most 8,192 and a tenth of all. Consecutive samples should be alike, as in a shuffled store.
    minutes
        Time for all pilots on this machine. The shortest pilots of all methods run in any case.
    l0
        Number of active latents of a sample, or several. Methods are chosen at the first.
    n_q
        Number of latents; None for eight times n_p.
    methods
        Names of the methods to try, from `METHODS`.
    opens_in
        Leave out methods that this library cannot open, such as "saelens" (`export`).
    steps
        Steps of the longest pilots.
    batch_size
        Samples of a step.
    seed
        Added to the seeds of the pilots.
    out
        Folder for the table of pilots. The same call continues there after an interruption.
    progress
        Print a line for each pilot.

    Returns
    -------
    An `Advice`: ``print`` shows the table and the call, ``plot()`` the picture, ``cost(tokens)`` time and memory.

    Raises
    ------
    ValueError
        If there are fewer than 100 samples, a method is unknown, or no method is left.
    """
    if unknown := set(methods) - set(METHODS):
        raise ValueError(f"methods: there is no {min(unknown)}; expected some of {', '.join(METHODS)}")
    targets = [l0] if isinstance(l0, int) else list(l0)
    train, test = pilot_samples(x)
    n_q = n_q or 8 * train.shape[1]
    trial = Pilots(train, test, n_q, batch_size, seed, None if out is None else user_path(out, "out"), progress)
    budget = 60 * minutes
    timed = {name: trial.timed(name, targets[0]) for name in methods}
    names = [name for name, (_, found) in timed.items() if opens_in is None or refusal(found.coder, opens_in) is None]
    if not names:
        raise ValueError(f"{opens_in} can open none of {', '.join(methods)}; choose other methods or another library")
    seconds = {name: timed[name][0] for name in names}

    first = [(name, lr) for name in names for lr in RATES]
    length = trial.plan("first", steps, SHARES[0] * budget / sum(seconds[name] for name, _ in first))
    ranked = trial.ranked(first, targets[0], length)
    half = ranked[: math.ceil(len(ranked) / 2)]
    half += [next(kind for kind in ranked if kind[0] == name) for name in names if name not in dict(half)]
    share = SHARES[1] * trial.left(budget) / sum(trial.seconds_per_step(name) for name, _ in half)
    ranked = trial.ranked(half, targets[0], trial.plan("second", steps, min(share, 3 * length)))
    rates = dict(reversed(ranked))  # the best of each method, which comes last
    order = list(dict.fromkeys(name for name, _ in ranked))
    names = list(dict.fromkeys([*order[:FINALISTS], *(["topk"] if "topk" in order else [])]))
    pace = len(SEEDS) * len(targets) * sum(map(trial.seconds_per_step, names)) + trial.seconds_per_step(names[0])
    last = trial.plan("last", steps, trial.left(budget) / pace)

    rows = [trial.row(name, rates[name], target, last) for target in targets for name in names]
    best = _best([row for row in rows if row["target"] == targets[0]])
    lr = trial.rate(best["method"], best["lr"], targets[0], steps)
    trained = timed[best["method"]][1]
    rows += [row for target in targets for row in trial.nulls(target, trained)]
    settings = trial.settings(best["method"], targets[0])
    settings |= {"lr": lr, "steps": steps, "batch_size": batch_size}
    return Advice(
        rows,
        list(trial.done.values()),
        settings,
        _sentence(rows, best, last, lr, steps),
        train.shape[1],
        seconds[best["method"]],
    )


def _best(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the row with the smallest error among those near the requested L0."""
    return dict(min(rows, key=lambda row: (row["l0"] > NEAR * row["target"], row["fvu"])))


def _sentence(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any], last: int, lr: float, steps: int) -> str:
    """Return the advice: the best method, the methods that cannot be told apart from it, its rate, and OMP's gain."""
    tied: list[tuple[str, float]] = []
    worse: list[tuple[str, float]] = []
    for row in rows:
        if row["null"] or row["method"] == best["method"]:
            continue
        if row["target"] != best["target"] or row["l0"] > NEAR * row["target"]:
            continue
        difference, low, _ = paired_interval(np.subtract(row["seeds"], best["seeds"]))
        (worse if low > 0 else tied).append((row["method"], 1 + difference / best["fvu"]))
    parts = [
        f"After {last} steps, {best['method']} leaves {best['fvu']:.3g} of the variance unexplained at an L0 of "
        f"{best['l0']:.1f} ({len(SEEDS)} seeds)."
    ]
    if tied:
        parts.append(f"{' and '.join(name for name, _ in tied)} cannot be told apart from it.")
    if worse:
        parts.append("; ".join(f"{name} leaves {ratio:.3g} times as much" for name, ratio in worse) + ".")
    if lr < best["lr"]:
        parts.append(f"Its error falls faster with lr {lr:g} than with {best['lr']:g}; {lr:g} is for {steps} steps.")
    if best["omp"] is not None and best["omp"] < best["fvu"]:
        parts.append(f"OMP on its rows (sdl.search) leaves {1 - best['omp'] / best['fvu']:.0%} less.")
    return " ".join(parts)
