"""Write the numbers of figures in sentences."""

import math

import numpy as np
import pandas as pd

from sdlcore import paired_interval
from sdlcore.evaluation.absorption import ABSORBED_SHARE, absorption_score
from sdlcore.evaluation.recovery import NEAR_ZERO
from sdlcore.text import in_line
from sdlstudy.rendering.figure6 import NEVER_FIRED
from sdlstudy.rendering.labels import label_anchoring, label_method
from sdlstudy.settings.sources import Bench


def figure4_sentences(rows: pd.DataFrame) -> list[str]:
    """Return the results of figure 4 in sentences, from the numbers of `figure4_rows` alone."""
    solution = rows[rows["shown"]].iloc[0]
    zero = rows[rows["near_zero"]]
    n = int(solution["features"])
    approximate = f"of single features {solution['approximate_loss']:.1e}"
    losses = f"{solution['loss']:.1e} ({solution['fvu']:.1e} of the variance), {approximate}"
    first = f"Of {len(rows)} seeds, {len(zero)} end with less than {NEAR_ZERO:g} of the variance unexplained. "
    if zero.empty:
        return [f"{first}So no loss is zero; seed {solution['seed']} comes nearest, with loss {losses}."]
    none = int(((zero["recovered_encoder"] == 0) & (zero["recovered_decoder"] == 0)).sum())
    first += f"{none} of these recover{'s' if none == 1 else ''} no feature at all, neither in encoder nor in decoder."
    means = [f"{zero[f'recovered_{side}'].mean():.1f} in the {side}" for side in ("encoder", "decoder")]
    return [
        first,
        f"Seed {solution['seed']} is shown, which recovers fewest: its loss is {losses}, its encoder recovers "
        f"{solution['recovered_encoder']} and its decoder {solution['recovered_decoder']} of {n} features "
        f"(best |cosines| up to {_largest(solution, 'encoder'):.2f} and {_largest(solution, 'decoder'):.2f}).",
        f"On average, the dictionaries of zero loss recover {' and '.join(means)} of {n} features; as many random "
        f"directions in three dimensions recover {solution['chance']:.1f}. The loss does not show which dictionaries "
        "recover features.",
    ]


def _largest(row: pd.Series, side: str) -> float:
    return float(max(row[name] for name in row.index if name.startswith(f"{side}_w")))


def figure5_sentences(pairs: pd.DataFrame, bench: Bench) -> list[str]:
    """Return the results of figure 5 in sentences.

    Parameters
    ----------
    pairs
        The rows of `absorption` for all runs, with the columns ``method`` and ``seed`` before them.
    bench
        The source, a bench with a hierarchy.
    """
    hierarchy = bench.hierarchy
    assert hierarchy is not None, "a bench without hierarchy is refused before"
    sentences = [
        f"{hierarchy.parents} of the {bench.n} features are parents of {hierarchy.children} children each: a "
        "parent is active whenever a child of it is. Pairs of parent and child are judged on samples where the "
        f"child is the only active one. A pair is absorbed if the parent’s latent writes less than {ABSORBED_SHARE:g} "
        f"of the parent, and the child’s latent {ABSORBED_SHARE:g} or more. It is lost if both write less."
    ]
    for method, runs in pairs.groupby("method", sort=False):
        scores = [absorption_score(run) for _, run in runs.groupby("seed", sort=False)]
        observed = runs[runs["samples"] > 0]
        score = f"{np.mean(scores):.2f}"
        if len(scores) > 1:
            score += f" (by seed {', '.join(f'{value:.2f}' for value in scores)})"
        sentences.append(
            f"{label_method(str(method))}: absorption {score}; {observed['lost'].mean():.2f} of the pairs are lost. "
            f"Parents’ latents fire in {observed['fires'].mean():.2f} of the samples in which they should and write "
            f"{observed['own'].mean():.2f} of the parent, children’s latents {observed['carried'].mean():.2f} of it."
        )
    return sentences


def figure6_sentences(summary: pd.DataFrame) -> list[str]:
    """Return the results of figure 6 in sentences, from the numbers of its summary alone."""
    with_, without = (summary[summary["variant"] == name].set_index("seed") for name in ("with", "without"))
    seeds = list(with_.index)
    silent = [seed for seed in seeds if with_.loc[seed, "resampled"] == 0]
    if len(silent) == len(seeds):
        return [
            f"{NEVER_FIRED.capitalize()}: no latent was resampled in any of the runs. "
            "So these runs do not show what resampling does. Fewer samples until a latent counts as dead, more "
            "latents or a stronger penalty would make it fire."
        ]
    plural = "s" if len(seeds) > 1 else ""
    sentences = [
        f"Over {len(seeds)} seed{plural}, {with_['resampled'].mean():.4g} latents were resampled a run, "
        f"at {with_['events'].mean():.3g} steps of the log."
    ]
    if silent:
        sentences.append(f"In seed{'s' if len(silent) > 1 else ''} {', '.join(map(str, silent))} {NEVER_FIRED}.")
    for name, what in {
        "final_loss": "training reconstruction loss at the end (last tenth of the log)",
        "fvu": "held-out fraction of variance unexplained",
        "dead_fraction": "held-out fraction of dead latents",
    }.items():
        sentences.append(_compare(with_[name], without[name], what))
    return sentences


def _compare(with_: pd.Series, without: pd.Series, what: str) -> str:
    mean, low, high = paired_interval((with_ - without.loc[with_.index]).to_numpy())
    text = f"The {what} is {with_.mean():.4g} with resampling and {without.mean():.4g} without: "
    text += f"a difference of {mean:+.3g}"
    if math.isnan(low):
        return f"{text}, with too few seeds for an interval."
    verdict = "which includes zero: no difference shown" if low <= 0 <= high else "which excludes zero"
    return f"{text}, 95 % interval {low:+.3g} to {high:+.3g}, {verdict}."


def top_images_sentence(name: str, method: str, anchoring: str, summary: pd.DataFrame) -> str:
    """Return the results of a figure of top images in a sentence: how many classes each latent's top images show."""
    run = "without anchors" if anchoring == "none" else f"anchored to {label_anchoring(anchoring)}"
    parts = []
    for (latent, reference), group in summary.groupby(["latent", "reference"], sort=False):
        class_counts = group["class"].value_counts()
        parts.append(
            f"the {len(group)} images that activate latent {latent} most (matched to {in_line(reference)}) show "
            f"{len(class_counts)} classes, {class_counts.iloc[0]} of the images {in_line(class_counts.index[0])}"
        )
    number_of = name.removeprefix("figure")
    text = "; ".join(parts) or "no latent shown responds to any image"
    return f"Figure {number_of}, {label_method(method)}, {run}: {text}."
