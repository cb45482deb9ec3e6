"""Format tables that judge dictionaries by a language model: its loss, probes, and stability over seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sdlcore import paired_interval
from sdlcore.evaluation.metrics import METRICS
from sdlcore.random_streams import stream
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.markup import number
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.tables import LEVEL

SCORES = {
    "l0": ("L0", 1),
    "fvu": (METRICS["fvu"].symbol, 3),
    "clean": ("loss: clean", 3),
    "spliced": ("spliced", 3),
    "recovered_zero": ("loss recovered: zero", 3),
    "recovered_mean": ("mean", 3),
    "kl_spliced": ("KL: spliced", 3),
    "kl_recovered_zero": ("KL recovered: zero", 3),
    "kl_recovered_mean": ("mean", 3),
}
"""Column of the table of scores -> its head, and its decimals."""
SHARES = {
    f"{side}_{part}": f"{side}: {head}"
    for side in ("decoder", "encoder")
    for part, head in (("0.7", "above .7"), ("0.9", "above .9"), ("mean", "mean cosine"))
}
"""Column of the table of stability -> its head."""
BASELINES = {
    "raw": "activations",
    "pca": "principal components",
    "null: directions": "random directions",
    "null: samples": "random samples",
}
"""Features that no training made -> their name in the table of probes."""
RESAMPLES = 4000


def scores_text(table: pd.DataFrame) -> TextTable:
    """Return the table of language scores: means over seeds, with intervals from 3 seeds on.

    ``table`` has a row for each run: source, method, seed and the columns of `SCORES`.
    """
    rows = []
    for (source, method), runs in table.groupby(["source", "method"], sort=False):
        cells = []
        for name, (_, digits) in SCORES.items():
            mean, _, high = paired_interval(runs[name].to_numpy(float))
            cells.append(number(mean, digits) + ("" if np.isnan(high) else f" ± {number(high - mean, digits)}"))
        rows.append([str(source), label_method(str(method)), str(len(runs)), *cells])
    caption = (
        "What dictionaries cost the language model, in nats a token over held-out contexts: means over seeds ± half "
        "the width of their 95 % t intervals. Loss: the cross-entropy of the next token, with the model as it is "
        "(clean) and with reconstructions in place of the activations (spliced). KL: the divergence KL(clean || "
        "spliced) of the next-token distributions. Zero ablation replaces the activations by zero, mean ablation by "
        "their mean. Recovered: 1 for the clean model, 0 for the ablated one. Compare dictionaries of about equal L0."
    )
    return _table(caption, rows, ["source", "method", "seeds", *(head for head, _ in SCORES.values())])


def stability_text(table: pd.DataFrame) -> TextTable:
    """Return the table of stability: means over pairs of seeds, and the smallest and largest pair.

    ``table`` has a row for each pair: source, method, first, second and the columns `SHARES`.
    """
    rows = []
    for (source, method), pairs in table.groupby(["source", "method"], sort=False):
        cells = [_mean_and_range(pairs[name]) for name in SHARES]
        rows.append([str(source), label_method(str(method)), str(len(pairs)), *cells])
    caption = (
        "Latents that dictionaries share which differ in their seeds only: means over pairs of seeds (smallest to "
        "largest pair). Decoder columns are matched one to one so that the sum of their cosines is largest, and "
        "encoder rows likewise. The shares count matches with a cosine above .7 and .9 among all latents."
    )
    return _table(caption, rows, ["source", "method", "pairs", *SHARES.values()])


def probes_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise classifiers over classes and seeds.

    Intervals are percentiles over resamples that draw classes and seeds, each with replacement (a crossed bootstrap).
    With few seeds they are somewhat too narrow; classes vary more than seeds.

    Parameters
    ----------
    runs
        A row for each classifier: source, seed, features, k, label, auc and balanced_accuracy.

    Returns
    -------
    DataFrame
        A row for each source, features and k: the numbers of classes and seeds, mean AUC with its 95 % interval, and
        mean balanced accuracy. For dictionaries also ``baseline``, the baseline with the best mean AUC at this k, and
        the mean difference ``beyond`` in AUC to it with its interval, paired by class and seed.
    """
    rows = []
    for (source, k), group in runs.groupby(["source", "k"], sort=False):
        scores = {
            str(features): its.pivot(index="seed", columns="label", values="auc").to_numpy(float)
            for features, its in group.groupby("features", sort=False)
        }
        accuracy = group.groupby("features")["balanced_accuracy"].mean()
        best = max((name for name in BASELINES if name in scores), key=lambda name: float(scores[name].mean()))
        seeds, classes = scores[best].shape
        drawn = _resamples(seeds, classes)
        for features, values in scores.items():
            mean, low, high = _interval(values, *drawn)
            row = {"source": source, "features": features, "k": k, "classes": classes, "seeds": seeds}
            row |= {"auc": mean, "auc_low": low, "auc_high": high, "balanced_accuracy": float(accuracy[features])}
            if features not in BASELINES:
                beyond, low, high = _interval(values - scores[best], *drawn)
                row |= {"baseline": best, "beyond": beyond, "beyond_low": low, "beyond_high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def probes_text(table: pd.DataFrame) -> TextTable:
    """Format the table of `probes_table`: a column for each k, and a row for each kind of features.

    A second row for each dictionary shows its difference to the best baseline.
    """
    order = list(dict.fromkeys(table["k"]))
    rows = []
    for (source, features), group in table.groupby(["source", "features"], sort=False):
        by_k = group.set_index("k")
        name = BASELINES.get(str(features)) or label_method(str(features))
        rows.append([str(source), name, *(_cell(by_k.loc[k], "auc") for k in order)])
        if features not in BASELINES:
            cells = [f"{_cell(by_k.loc[k], 'beyond')}, {BASELINES[str(by_k.loc[k, 'baseline'])]}" for k in order]
            rows.append([str(source), f"{name}, beyond the best baseline", *cells])
    classes, seeds = (int(table[name].iloc[0]) for name in ("classes", "seeds"))
    caption = (
        "Probes: logistic regressions that separate one class of held-out documents from all others by k features of a "
        f"document. AUC (.5 by chance), mean over {classes} classes and {seeds} seeds, with 95 % intervals of a "
        "bootstrap over both. A document's features are means over its tokens; the k features are chosen on the "
        "documents that the probe is fitted to. Beyond the best baseline: the difference to activations, principal "
        "components, random directions or random samples, whichever has the best mean at this k, paired by class and "
        "seed."
    )
    return _table(caption, rows, ["source", "features", *(f"k = {k}" if k != "all" else "all" for k in order)])


def _table(caption: str, rows: Sequence[Sequence[str]], heads: Sequence[str]) -> TextTable:
    return TextTable(caption, pd.DataFrame(rows, columns=list(heads)), 2)


def _cell(row: pd.Series, name: str) -> str:
    mean, low, high = (number(float(row[part]), 3) for part in (name, f"{name}_low", f"{name}_high"))
    return f"{mean} ({low} to {high})"


def _mean_and_range(values: pd.Series) -> str:
    mean, low, high = (number(float(value), 3) for value in (values.mean(), values.min(), values.max()))
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def _resamples(seeds: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each seed and each class weighs in each resample."""
    rng = stream(0, "probes", "bootstrap")

    def weights(n: int) -> np.ndarray:
        return rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n

    return weights(seeds), weights(classes)


def _interval(values: np.ndarray, of_seeds: np.ndarray, of_classes: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of seeds x classes values and the ends of its interval over resamples."""
    means = np.einsum("rs,sc,rc->r", of_seeds, values, of_classes)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(values.mean()), float(low), float(high)
