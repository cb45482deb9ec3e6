"""The three findings at the top of a report, in sentences."""

import math
from collections.abc import Sequence

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metric_names import Baseline, FeatureSet, baseline_name, recovery_name
from sdlstudy.rendering.labels import label_method, without_label
from sdlstudy.rendering.markup import has_values
from sdlstudy.rendering.overview import strongest_null
from sdlstudy.verdicts.judging import INCONSISTENT, NOT_REPRODUCED, REPRODUCED, UNDECIDED

UNIT = "\N{NO-BREAK SPACE}%"
FEWEST = 3
"""Fewest seeds for an interval."""
NAMED = 2
"""Largest number of methods that a sentence lists by name."""
COMPARED = 5
"""Largest number of methods whose numbers a sentence lists."""
SIMILAR_L0 = 1.05
"""Largest ratio between the L0 of methods that a sentence ranks by their error."""
ANCHORS_ALONE = f"{recovery_name('decoder', features=FeatureSet.UNANCHORED, baseline=Baseline.ANCHORS_ONLY)}_mean"
"""Column with the share of the other features that the anchors alone match, without any training."""
CLASSES = ("class means", "match")
FEATURES = ("features", "recover")


def opening(
    table: pd.DataFrame,
    effects: pd.DataFrame | None = None,
    nulls: Sequence[str] = (),
    classes: bool = False,
    answer: str = "",
) -> list[str]:
    """Return the three findings at the top of a report, each in one sentence or a few.

    Recovery counts cosines above `TAU` in all of them, as in the tables.

    Parameters
    ----------
    table
        The main table, as `sdlstudy.rendering.sweeps.table_over` returns it.
    effects
        The effect of anchoring, as `effects_over` returns it.
    nulls
        Names of the null baselines.
    classes
        Whether recovery counts means of classes instead of true features.
    answer
        The answer of `table1_answer`, which comes first; empty for tables that are not the paper's.
    """
    plain = _plain(table, nulls)
    if not has_values(table, f"{recovery_name('decoder')}_mean") or plain.empty:
        return [_unexplained(plain if len(plain) else table), *_activity(table)]
    # anchors alone match other classes, so only classes that are not given show an effect of training
    side_names = {
        side: recovery_name(side, features=FeatureSet.UNANCHORED if classes else FeatureSet.ALL)
        for side in ("decoder", "encoder")
    }
    what, verb = CLASSES if classes else FEATURES
    protocols = list(plain["protocol"].unique())
    sentences: list[str] = []
    first_sentences = [answer] if answer else []
    for protocol in protocols:
        rows = plain[plain["protocol"] == protocol]
        decoders, encoders = (rows[f"{name}_mean"] for name in side_names.values())
        under = f" under protocol {protocol}" * (len(protocols) > 1)
        who = f"Under protocol {protocol}" if sentences else f"{_several(rows['method'].nunique(), 'method')}{under}"
        of = f" of the {what}{' not given' * classes} at cosines above {TAU:g}" * (not sentences)
        sentences.append(f"{who}: decoders {verb} {_median(decoders, 'median; ')}{of}, encoders {_median(encoders)}.")
        failed = list(rows["method"][decoders == 0])
        if 0 < len(failed) < len(rows):
            whose = " and ".join(map(label_method, failed)) if len(failed) <= NAMED else f"{len(failed)} methods"
            sentences.append(f"Decoders of {whose} {verb} none.")
        shares = zip(rows["method"], decoders, strict=True)
        matches = f"{verb}{'es' if classes else 's'}"
        sentences += [
            f"The decoder of {name} {matches} {percent(share)}." for name, share in shares if without_label(name)
        ]
    anchored = None if effects is None else _anchoring(effects, what)
    return [
        " ".join([*first_sentences, *sentences]),
        _baselines(table, plain, nulls, classes),
        anchored or _unexplained(plain),
    ]


def _baselines(table: pd.DataFrame, plain: pd.DataFrame, nulls: Sequence[str], classes: bool) -> str:
    """Compare with anchors alone, chance, null baselines, and the paper."""
    if classes and has_values(table, ANCHORS_ALONE):
        return f"The anchors alone, without any training, match {_range(table[ANCHORS_ALONE])} of these class means."
    level = f"{baseline_name(Baseline.CHANCE, recovery_name('decoder'))}_mean"
    chance = _range(plain[level])
    null = None if classes else strongest_null(table[table["anchoring"] == "none"], nulls)
    sentence = (
        f"Chance alone {'matches' if classes else 'recovers'} {chance}"
        if null is None
        else f"The strongest null baseline ({label_method(null[0])}) recovers {percent(null[1])}, chance {chance}"
    )
    if has_values(plain, "paper_gt_recovery"):
        sentence += f"; the paper reports {_range(plain['paper_gt_recovery'])} at its own scale, by inner products"
    return f"{sentence}.{'' if null is None else _proves_little(table, plain, *null)}"


def _proves_little(table: pd.DataFrame, plain: pd.DataFrame, null: str, recovered: float) -> str:
    """Warn if a null baseline recovers at least as much as half of the decoders."""
    decoders = plain[f"{recovery_name('decoder')}_mean"]
    below = int((decoders <= recovered).sum())
    if recovered == 0 or 2 * below < len(decoders):
        return ""
    unexplained = table.loc[table["method"] == null, "fvu_mean"].min()
    return (
        f" That null equals or exceeds {below} of {len(decoders)} decoders, so recovery alone proves little here: "
        f"compare reconstruction, too (FVU {unexplained:.3g}, trained methods at most {plain['fvu_mean'].max():.2g})."
    )


def _anchoring(effects: pd.DataFrame, what: str) -> str | None:
    """Describe the effect of anchoring on features that are not anchors; None if ``effects`` has no such row."""
    rows = effects[effects["metric"] == recovery_name("decoder", features=FeatureSet.UNANCHORED)].dropna(
        subset=["difference_mean"]
    )
    if rows.empty:
        return None
    low, high = _points(rows["difference_mean"].min()), _points(rows["difference_mean"].max())
    change = low if low == high else f"{low} to {high}"
    seeds = int(rows["seeds"].iloc[0])
    sentence = f"Anchoring changes decoder recovery of {what} not given by {change} points"
    if seeds < FEWEST:
        return f"{sentence}. {_several(seeds, 'seed')} cannot show that it helps."
    beyond = _beyond(rows)
    varied = [name for name in ("method", "anchoring", "protocol") if name in rows and rows[name].nunique() > 1]
    each = f"one for each {' and '.join(varied)}, " * (len(varied) > 0)
    return (
        f"{sentence}. {beyond or 'None'} of {len(rows)} intervals ({each}over {seeds} seeds) "
        f"exclude{'s' * (beyond <= 1)} zero{', so no change is shown' * (not beyond)}."
    )


def _plain(table: pd.DataFrame, nulls: Sequence[str]) -> pd.DataFrame:
    return table[(table["anchoring"] == "none") & ~table["method"].isin(list(nulls))]


def table1_answer(verdicts: pd.DataFrame, where: str) -> str:
    """Say whether runs reproduce the paper's Table 1; empty if runs decide none of its numbers.

    Parameters
    ----------
    verdicts
        As `sdlstudy.verdicts.judging.verdicts` returns them.
    where
        The runs that were judged, such as "the stored runs at the paper's scale".
    """
    judged = verdicts[verdicts["table"].eq("table1") & ~verdicts["verdict"].isin(UNDECIDED)]["verdict"]
    if judged.empty:
        return ""
    good, failed, odd = (int(judged.eq(verdict).sum()) for verdict in (REPRODUCED, NOT_REPRODUCED, INCONSISTENT))
    answer = "is not reproduced" if not good else "is reproduced" if good == len(judged) else "is reproduced in part"
    reproduced = "none" if not good else "all" if good == len(judged) else str(good)
    contradict = f", and {odd} contradict{'s' * (odd == 1)} the paper itself" if odd else ""
    remainder = f": {failed} {'is' if failed == 1 else 'are'} not reproduced{contradict}" if good < len(judged) else ""
    return f"Table 1 of the paper {answer}. Of {len(judged)} numbers, {where} reproduce {reproduced}{remainder}."


def _unexplained(table: pd.DataFrame) -> str:
    """Name the variance that each method leaves unexplained, with its L0; the methods are ranked only at similar L0."""
    means = table.groupby("method", sort=False)[["fvu_mean", "l0_mean"]].mean().dropna(subset=["fvu_mean"])
    if 1 < len(means) <= COMPARED:
        has_similar_l0 = means["l0_mean"].max() <= SIMILAR_L0 * means["l0_mean"].min()
        if has_similar_l0:
            means = means.sort_values("fvu_mean", kind="stable")
        names = map(label_method, map(str, means.index))
        first, *others = (
            (name, percent(fvu), f"(L0 {l0:.3g})")
            for name, fvu, l0 in zip(names, means["fvu_mean"], means["l0_mean"], strict=True)
        )
        sentence = f"{first[0]} leaves {first[1]} of the held-out variance unexplained {first[2]}"
        sentence = ", ".join([sentence, *map(" ".join, others)])
        return f"{sentence}." if has_similar_l0 else f"{sentence}. Their L0 differs, so this does not rank the methods."
    return f"Reconstructions leave {_range(table['fvu_mean'])} of the held-out variance unexplained."


def _activity(table: pd.DataFrame) -> list[str]:
    l0 = table["l0_mean"].dropna()
    low, high = f"{l0.min():.3g}", f"{l0.max():.3g}"
    return [
        f"A sample activates {low if low == high else f'{low} to {high}'} latents.",
        f"{_range(table['dead_fraction_mean'])} of the latents are dead: no held-out sample activates them.",
    ]


def _beyond(effects: pd.DataFrame) -> int:
    """Count the intervals that exclude zero."""
    return int(((effects["difference_low"] > 0) | (effects["difference_high"] < 0)).sum())


def percent(share: float) -> str:
    """Return a share in per cent with at most one decimal. Only exact shares are written as 0 % and 100 %."""
    if math.isnan(share):
        return "an unknown share"
    if 0 < share < 0.0005:
        return f"under 0.1{UNIT}"
    if 0.9995 <= share < 1:
        return f"over 99.9{UNIT}"
    return f"{100 * share:.1f}".removesuffix(".0") + UNIT


def _points(difference: float) -> str:
    text = f"{100 * difference:+.1f}".removesuffix(".0")
    return "0" if float(text) == 0 else text.replace("-", "−")


def _several(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _median(values: pd.Series, word: str = "") -> str:
    """Return the median, followed by the range in brackets unless all values are equal."""
    middle, span = percent(float(values.median())), _range(values)
    return middle if middle == span else f"{middle} ({word}{span})"


def _range(values: pd.Series) -> str:
    """Return the smallest and the largest share, or one number if they are equal."""
    numbers = values.dropna()
    if numbers.empty:
        return percent(math.nan)
    low, high = percent(float(numbers.min())), percent(float(numbers.max()))
    return low if low == high else f"{low.removesuffix(UNIT)} to {high}"
