"""Put the findings that a report begins with into words."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore.evaluation.absorption import absorption_score
from sdlcore.evaluation.metrics import ANCHORS_ONLY, OTHERS, mip_name, recovery_name
from sdlcore.study.rendering.markup import label_method, number
from sdlcore.study.verdicts.markup import counts_sentence

PROTOCOLS = {"best": "the field’s practice", "paper": "the paper’s text"}


class Finding(NamedTuple):
    """One finding."""

    headline: str
    sentence: str
    section: str
    """Where in the report its numbers are."""


def findings(frames: Mapping[str, pd.DataFrame], nulls: Sequence[str] = ()) -> list[Finding]:
    """Return what the frames of a report (see `report.report`) say; what is not given is left out.

    Every sentence is made of numbers that stand further down in the report. Null baselines, ``nulls``, are none of
    Table 1's methods.
    """
    found: list[Finding] = []
    if "published_verdicts" in frames:
        said = counts_sentence(frames["published_verdicts"])
        found.append(Finding("The paper’s numbers, by runs at its scale, kept with the code", said, "published"))
    elif "verdicts" in frames:
        found.append(Finding("The paper’s numbers", counts_sentence(frames["verdicts"]), "verdicts"))
    if "table1" in frames:
        found += _recovery(frames["table1"], nulls)
    if "table1_effects" in frames and len(frames["table1_effects"]):
        found += _anchoring(frames["table1_effects"])
    if "table2" in frames:
        found += _classes(frames["table2"])
    if "figure4_summary" in frames:
        found += _zero_loss(frames["figure4_summary"])
    if "figure5_summary" in frames:
        found += _absorption(frames["figure5_summary"])
    if "figure6_summary" in frames:
        found += _resampling(frames["figure6_summary"])
    return found


def _recovery(table: pd.DataFrame, nulls: Sequence[str]) -> Iterator[Finding]:
    plain = table[(table["anchoring"] == "none") & ~table["method"].isin(list(nulls))]
    for protocol, rows in plain.groupby("protocol", sort=False):
        decoder, encoder = (rows[f"{recovery_name(side)}_mean"] for side in ("decoder", "encoder"))
        mips = [f"{_range(rows[f'{mip_name(side)}_mean'])} in the {side}" for side in ("decoder", "encoder")]
        yield Finding(
            f"What is recovered, trained by {PROTOCOLS.get(str(protocol), protocol)}",
            f"Without anchors and by cosines above .9, decoders of the {len(rows)} methods recover "
            f"{_apart(decoder, rows['method'])} of the features, encoders {_apart(encoder, rows['method'])}; "
            f"the mean best |cosine| is {' and '.join(mips)}. "
            "The paper’s metric takes inner products of encoder rows, which it does not normalise.",
            "table1",
        )


def _anchoring(effects: pd.DataFrame) -> Iterator[Finding]:
    seeds = int(effects["seeds"].iloc[0])
    for protocol, rows in effects.groupby("protocol", sort=False):
        told = [
            f"{what} {_rises(rows[rows['metric'] == name])}"
            for name, what in (
                (recovery_name("decoder", features=OTHERS), "decoder recovery"),
                (recovery_name("encoder", features=OTHERS), "encoder recovery"),
                (mip_name("decoder", features=OTHERS), "the decoder’s mean best |cosine|"),
                (mip_name("encoder", features=OTHERS), "the encoder’s"),
            )
        ]
        said = f"By 95 % intervals over {seeds} paired seeds, {'; '.join(told)}."
        if seeds < 3:
            said = f"{seeds} seed{'s are' if seeds > 1 else ' is'} too few to tell."
        yield Finding(
            "What anchoring does for features that it was not given, trained by "
            f"{PROTOCOLS.get(str(protocol), protocol)}",
            said,
            "table1-anchoring",
        )


def _rises(effects: pd.DataFrame) -> str:
    """Return in how many methods a metric changes beyond its interval."""
    up, down = (int((effects["difference_low"] > 0).sum()), int((effects["difference_high"] < 0).sum()))
    if not up and not down:
        return "is not shown to change in any method"
    parts = [f"{word} in {count}" for word, count in (("rises", up), ("falls", down)) if count]
    shown = effects[(effects["difference_low"] > 0) | (effects["difference_high"] < 0)]
    return f"{' and '.join(parts)} of {len(effects)} methods (by {_range(shown['difference_mean'].abs(), 4)})"


def _classes(table: pd.DataFrame) -> Iterator[Finding]:
    plain, anchored = table[table["anchoring"] == "none"], table[table["anchoring"] != "none"]
    if plain.empty or anchored.empty:
        return
    name, alone = (
        f"{recovery_name('decoder', features=OTHERS, baseline=baseline)}_mean" for baseline in (None, ANCHORS_ONLY)
    )
    yield Finding(
        "Means of classes in CLIP embeddings",
        f"Of the means that were not given away, decoders have {_range(plain[name])} without anchors and "
        f"{_range(anchored[name])} with them, but the anchors alone, without any training, have "
        f"{_range(table[alone])}: their neighbours lie that close.",
        "table2",
    )


def _zero_loss(rows: pd.DataFrame) -> Iterator[Finding]:
    zero = rows[rows["near_zero"]]
    none = int(((zero["recovered_encoder"] == 0) & (zero["recovered_decoder"] == 0)).sum())
    yield Finding(
        "Zero loss without recovery",
        f"{len(zero)} of {len(rows)} seeds end at next to no loss; with no feature recovered: {none} of these.",
        "figure4",
    )


def _absorption(pairs: pd.DataFrame) -> Iterator[Finding]:
    told = []
    for method, runs in pairs.groupby("method", sort=False):
        score = np.mean([absorption_score(run) for _, run in runs.groupby("seed")])
        lost = runs.loc[runs["samples"] > 0, "lost"].mean()
        told.append(f"{label_method(str(method))} {score:.2f} and {lost:.2f}")
    yield Finding(
        "Absorption",
        "Share of pairs of parent and child in which the child’s latent writes the parent, and in which none does: "
        f"{', '.join(told)}.",
        "figure5",
    )


def _resampling(summary: pd.DataFrame) -> Iterator[Finding]:
    with_, without = (summary[summary["variant"] == variant] for variant in ("with", "without"))
    parts = [
        f"{what} {number(with_[name].mean(), 3)} against {number(without[name].mean(), 3)}"
        for name, what in (
            ("final_loss", "squared training error a sample, at the end"),
            ("fvu", "held-out variance unexplained"),
            ("dead_fraction", "share of latents that no held-out sample activates"),
        )
    ]
    yield Finding("Resampling dead latents", f"With and without it: {', '.join(parts)}.", "figure6")


def _apart(values: pd.Series, methods: pd.Series) -> str:
    """Return the range of methods' numbers, without those below half of the largest, which are named."""
    low = values < values.max() / 2
    if low.sum() == 0:
        return _range(values)
    named = [f"{label_method(str(m))} {number(v, 3)}" for m, v in zip(methods[low], values[low], strict=True)]
    return f"{_range(values[~low])} (but {', '.join(named)})"


def _range(values: pd.Series, digits: int = 3) -> str:
    """Return the least and largest of some numbers, or the one that they all are."""
    known = [float(value) for value in values if not math.isnan(value)]
    if not known:
        return "an unknown share"
    low, high = number(min(known), digits), number(max(known), digits)
    return low if low == high else f"{low} to {high}"
