"""`suggest`: choose a method and its settings by short trainings on your own activations.

Pilots train in three rounds, each on a share of the time. The first round trains every method with every learning rate.
The second round trains the better half of them three times as long. The last round trains TopK and the best methods
with several seeds, at every L0 and width. If its pilots are shorter than the training, the best method's next lower
rate is tried as well. Searches by Optuna or scikit-learn rank trials by one number; here each method keeps its rate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdlcore.evaluation.intervals import paired_interval
from sdlcore.extras import extra
from sdlcore.pilots import METHODS, NEAR, RATES, SEEDS, Pilots, pilot_samples
from sdlcore.storage.files import user_path, write_rows, write_text
from sdlcore.text import number, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARES = (0.2, 0.3)
"""Share of the remaining time for the first and the second round. The last round gets the rest."""
FINALISTS = 3
"""Methods of the last round, besides TopK."""
PILOTS = "pilots.csv"
"""File of the scores of all pilots."""
PilotRow = Mapping[str, Any]


@dataclass(frozen=True)
class Advice:
    """The result of `suggest`. It prints as a table, the advice, the call to paste and its cost."""

    rows: list[dict[str, Any]]
    """The last round: a row for each method, width and L0, with the FVU on held-out samples averaged over seeds;
    ``pandas.DataFrame`` takes them. ``low`` and ``high`` are a 95 % t interval; ``omp`` is the FVU of orthogonal
    matching pursuit on the rows of the first seed. Null baselines follow: random samples with TopK and OMP codes, and
    principal components."""
    pilots: list[dict[str, Any]]
    """Every pilot: method, lr, n_q, target L0, steps, seed; FVU, L0 and share of dead latents on held-out samples;
    seconds of a training step, and seconds in all."""
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
    def command(self) -> str:
        """The same training for the shell; ``x.npy`` is the file of activations."""
        words = ["sdlcore fit x.npy --out run"]
        for name, value in self.settings.items():
            values = value if isinstance(value, list) else [] if value is True else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
        return " ".join(words)

    def cost(self, tokens: float) -> dict[str, float]:
        """Return the cost of one pass over a number of samples with the best settings, on this machine.

        ``hours`` of training, ``memory_gb`` of weights, gradients and Adam's two moments, and ``disk_gb`` of a float16
        store of the samples.
        """
        return {
            "hours": tokens / self.settings["batch_size"] * self.seconds_per_step / 3600,
            "memory_gb": 2 * self.n_p * self.settings["n_q"] * 4 * 4 / 1e9,  # float32, each weight four times
            "disk_gb": tokens * self.n_p * 2 / 1e9,
        }

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Plot FVU over L0: a line for each method with its interval, OMP codes of its rows dashed, baselines grey."""
        from sdlcore.plot import _axes

        ax = _axes(ax)
        greys = {"random samples": ("0.3", "s"), "principal components": ("0.6", "^")}
        for index, (method, n_q) in enumerate(dict.fromkeys((row["method"], row["n_q"]) for row in self.rows)):
            rows = [row for row in self.rows if (row["method"], row["n_q"]) == (method, n_q)]
            l0, target, *columns = ([row[key] for row in rows] for key in ("l0", "target", "fvu", "low", "high", "omp"))
            fvu, low, high, omp = np.array(columns, float)
            color, marker = greys.get(method, (f"C{index}", "o"))
            ends = np.nan_to_num([fvu - low, high - fvu])
            ax.errorbar(l0, fvu, ends, color=color, marker=marker, capsize=3, label=f"{method}, {n_q}")
            ax.plot(target, omp, "x--", color=color, linewidth=1)
        ax.set(xlabel="L0 (active latents of a sample)", ylabel="FVU (share of the variance unexplained)")
        ax.set(ylim=(0, 1.1 * max((row["fvu"] for row in self.rows if row["fvu"] <= 1), default=1)))
        ax.legend(title="method, latents; crosses: OMP on the same rows", fontsize="x-small", title_fontsize="x-small")
        return ax

    def __repr__(self) -> str:
        """Return the table of the last round, the advice, the call and its cost."""
        cells = [["method", "lr", "latents", "L0", "FVU", "95 % interval", "OMP", "dead", "s/step"]]
        for row in self.rows:
            lr, fvu, *others = (number(row[key]) for key in ("lr", "fvu", "omp", "dead", "step"))
            interval = "-" if row["null"] else f"{row['low']:.4g} to {row['high']:.4g}"
            fvu = fvu if row["fvu"] <= 1 else "> 1"
            cells.append([row["method"], lr, str(row["n_q"]), f"{row['l0']:.1f}", fvu, interval, *others])
        cost = self.cost(1e6)
        text = (
            f"This takes {self.settings['steps'] * self.seconds_per_step:.1f} s on this machine, and a million samples "
            f"{cost['hours'] * 3600:.1f} s and {cost['disk_gb']:.2g} GB on disk. Weights, gradients and Adam take "
            f"{cost['memory_gb']:.2g} GB of memory."
        )
        return "\n\n".join([table(cells), self.sentence, f"import sdlcore as sdl\n{self.call}", self.command, text])

    def save(self, folder: Path) -> None:
        """Write the advice as it prints (advice.txt), its picture (advice.png) and every pilot (pilots.csv)."""
        write_text(folder / "advice.txt", f"{self}\n")
        write_rows(folder / PILOTS, [[*self.pilots[0]], *([*map(str, row.values())] for row in self.pilots)])
        figure = self.plot().get_figure(root=True)
        assert figure is not None
        figure.savefig(folder / "advice.png", bbox_inches="tight")


def suggest(
    x: Any,
    minutes: float = 10,
    l0: int | Sequence[int] = 32,
    *,
    n_q: int | Sequence[int] | None = None,
    methods: Sequence[str] = tuple(METHODS),
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
        Number of active latents of a sample, or several. Methods compete at the first; the best also train at the
        others.
    n_q
        Number of latents, or several, as for ``l0``; eight times n_p if left out.
    methods
        Names of the methods to try, from `METHODS`.
    steps
        Steps of the longest pilots.
    batch_size
        Samples of a step.
    seed
        Added to the seeds of the pilots.
    out
        Folder for the advice (advice.txt), its picture (advice.png) and the scores of all pilots (pilots.csv).
    progress
        Print a line for each pilot.

    Returns
    -------
    An `Advice`: ``print`` shows the table and the call, ``plot()`` the picture, ``cost(tokens)`` time and memory.

    Raises
    ------
    ValueError
        If x has under 100 samples, a method is unknown, or ``out`` already contains advice.
    """
    if not methods or (unknown := set(methods) - set(METHODS)):
        found = f"there is no {min(unknown)}" if methods else "none is given"
        raise ValueError(f"methods: {found}; expected some of {', '.join(METHODS)}")
    folder = None if out is None else user_path(out, "out")
    if folder is not None:
        if (folder / PILOTS).exists():
            raise ValueError(f"{folder} already contains advice ({PILOTS}); choose another folder, or delete it")
        with extra("plot"):
            import matplotlib as _  # noqa: F401, for the picture after the pilots
        folder.mkdir(parents=True, exist_ok=True)  # an error now, not after the pilots
    train, test = pilot_samples(x)
    widths = [n_q or 8 * train.shape[1]] if n_q is None or isinstance(n_q, int) else list(n_q)
    sizes = list(product(widths, [l0] if isinstance(l0, int) else l0))
    size, budget = sizes[0], 60 * minutes
    trial = Pilots(train, test, batch_size, seed, progress)
    timed = {name: trial.timed(name, size) for name in methods}

    def plan(seconds: float, seconds_per_step: float) -> int:
        return max(min(steps, 50), min(steps, int(seconds / seconds_per_step)))

    kinds = list(product(methods, RATES))
    first = plan(SHARES[0] * budget, sum(timed[name] for name, _ in kinds))
    ranked = trial.ranked(kinds, size, first)
    half = ranked[: math.ceil(len(ranked) / 2)]
    half += [next(kind for kind in ranked if kind[0] == name) for name in methods if name not in dict(half)]
    share = SHARES[1] * trial.remaining(budget)
    second = min(plan(share, sum(trial.seconds_per_step(name) for name, _ in half)), 3 * first)
    ranked = trial.ranked(half, size, second)
    rates = dict(reversed(ranked))  # the best of each method, which comes last
    order = list(dict.fromkeys(name for name, _ in ranked))
    names = list(dict.fromkeys([*order[:FINALISTS], *(["topk"] if "topk" in order else [])]))
    relative_cost = sum(n_q for n_q, _ in sizes) / size[0]
    pace = len(SEEDS) * relative_cost * sum(map(trial.seconds_per_step, names)) + trial.seconds_per_step(names[0])
    last = plan(trial.remaining(budget), pace)

    rows = [trial.row(name, rates[name], each, last) for each in sizes for name in names]
    best = min(rows[: len(names)], key=lambda row: (row["l0"] > NEAR * row["target"], row["fvu"]))
    fvus = trial.extrapolated(best, size, first, last, steps)
    settings = trial.settings(best["method"], size) | {"lr": min(fvus, key=fvus.__getitem__)}
    settings |= {"steps": steps, "batch_size": batch_size}
    sentence = _sentence(rows[: len(names)], best, fvus, steps)
    rows += [row for each in sizes for row in trial.nulls(each)]
    advice = Advice(rows, list(trial.done.values()), settings, sentence, train.shape[1], best["step"])
    if folder is not None:
        advice.save(folder)
    return advice


def _sentence(rows: Sequence[PilotRow], best: PilotRow, fvus: dict[float, float], steps: int) -> str:
    """Return the advice: the best method, the methods that are not told apart from it, and its rate."""
    lr, tied = min(fvus, key=fvus.__getitem__), []
    for row in rows:
        if row is not best and row["l0"] <= NEAR * row["target"]:
            _, low, _ = paired_interval(np.subtract(row["seeds"], best["seeds"]))
            tied += [row["method"]] if not low > 0 else []
    parts = [
        f"After {best['steps']} steps, {best['method']} leaves {best['fvu']:.3g} of the variance unexplained at an L0 "
        f"of {best['l0']:.1f} ({len(SEEDS)} seeds)."
    ]
    if tied:
        parts.append(f"{' and '.join(tied)} cannot be told apart from it.")
    if lr < best["lr"]:
        both = f"FVU {fvus[lr]:.3g} against {fvus[best['lr']]:.3g} after {steps} steps"
        parts.append(f"The call's lr is {lr:g}, not {best['lr']:g} as in the table: by extrapolation, {both}.")
    elif lr == RATES[-1]:
        parts.append(f"lr {lr:g} is the largest that was tried; a larger one may leave less.")
    return " ".join(parts)
