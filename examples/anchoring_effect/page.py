"""Write the page on the effect of anchors, and its picture, from the tables of finished runs.

    python -m examples.anchoring_effect.judge docs/results/anchoring-effect
    python -m examples.anchoring_effect.page docs/results/anchoring-effect

Every number of the page comes from the CSV files of that folder, so the page changes with them.
"""

import sys
import textwrap
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from examples.anchoring_effect.judge import CONDITION, MAIN, SETTING, Values, differences, summary
from examples.anchoring_effect.real import planned_runs
from examples.anchoring_effect.runs import SEEDS, STEPS, Run, scored_runs
from sdlstudy.rendering.figures import GREY, PALETTE, save_png, style

METHODS = {
    "topk": "TopK",
    "relu": "ReLU",
    "topk_fast": "TopK, twice the learning rate",
    "relu_fast": "ReLU, twice the learning rate",
    "relu_paper": "ReLU of protocol `paper`",
    "jumprelu": "JumpReLU",
    "batchtopk": "BatchTopK",
    "transcoder": "transcoder",
    "crosscoder": "crosscoder",
}
REAL: dict[Any, str] = {"clip": "CLIP", "words": "SmolLM2, tokens"}
"""Sources of real activations."""
WIDTH = 120
"""Of a line of the page."""
BENCHES = {"paper": "", "denser": ", S = .95", "more": ", n = 1,400", "split": ", split samples"}


def setting_name(row: pd.Series) -> str:
    clipped = "clipped" if row["clip"] else "not clipped"
    return f"{METHODS[row['method']]}{BENCHES[row['source']]}, {clipped}"


def points(value: float, sign: bool = True) -> str:
    """Return a share in points as the pages write it, ".5" without the nought."""
    rounded = round(100 * value, 1)
    text = f"{abs(rounded):g}".removeprefix("0") if 0 < abs(rounded) < 1 else f"{abs(rounded):g}"
    return ("+" if rounded > 0 and sign else "-" if rounded < 0 else "") + text


def interval(row: Any, sign: bool = True) -> str:
    """Return a mean difference in points with its 95 % interval; the number of seeds if that is missing."""
    if not row["seeds"]:
        return ""
    if not np.isfinite(row["low"]):
        return f"{points(row['mean'], sign)} ({row['seeds']:g} seed{'s' if row['seeds'] > 1 else ''})"
    return f"{points(row['mean'], sign)} ({points(row['low'])} to {points(row['high'])})"


def p_value(p: float) -> str:
    if not np.isfinite(p):
        return ""
    return "below .001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 1 else "1"


def weight_name(weight: Any) -> str:
    return f"{weight:g}".removeprefix("0")


class Tables:
    """The tables of a folder."""

    def __init__(self, folder: Path) -> None:
        results = Path(__file__).resolve().parents[2] / "docs/results"
        self.dose = pd.read_csv(results / "explain/first_author/anchoring_dose_paper_runs.csv")
        self.relu = pd.read_csv(results / "paper/relu_effects.csv")
        self.runs = pd.read_csv(folder / "runs.csv", keep_default_na=False, na_values=[""])
        self.pilot = pd.read_csv(folder / "pilot.csv", keep_default_na=False, na_values=[""])
        self.effects = pd.read_csv(folder / "effects.csv", keep_default_na=False, na_values=[""])
        self.settings = pd.read_csv(folder / "settings.csv", keep_default_na=False, na_values=[""])
        self.outcomes = pd.read_csv(folder / "outcomes.csv", keep_default_na=False, na_values=[""])
        real = folder / "real.csv"
        self.real = pd.read_csv(real, keep_default_na=False, na_values=[""]) if real.exists() else None

    @property
    def main(self) -> pd.DataFrame:
        """One row for each condition of the main measure: contrasts as columns of rows."""
        return self.effects[self.effects.measure == MAIN]

    def effect(self, condition: dict[Any, Any], contrast: str, measure: str = MAIN) -> pd.Series:
        keep = (self.effects.contrast == contrast) & (self.effects.measure == measure)
        for name, value in condition.items():
            keep &= self.effects[name] == value
        return self.effects[keep].iloc[0]

    def without(self, condition: dict[Any, Any]) -> pd.Series:
        """Return the recovery without anchors, by seed."""
        keep = (self.runs.anchors == "none") & (self.runs.start == 0)
        for name in SETTING:
            keep &= self.runs[name] == condition[name]
        return self.runs[keep].set_index("seed")[MAIN]

    def conditions(self) -> list[dict[Any, Any]]:
        """Return the conditions with runs, setting by setting."""
        there = self.main[(self.main.contrast == "true - none") & (self.main.seeds > 0)][CONDITION].to_dict("records")
        settings = list(dict.fromkeys(tuple(row[name] for name in SETTING) for row in there))
        return sorted(
            there,
            key=lambda row: (settings.index(tuple(row[name] for name in SETTING)), -row["number"], row["weight"]),
        )


def conditions_table(tables: Tables) -> str:
    """Return the table of the main measure."""
    lines = [
        "| setting | anchors, weight | without anchors | true - none | random - none | true - random | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for condition in tables.conditions():
        rows = {
            contrast: tables.effect(condition, contrast)
            for contrast in ("true - none", "random - none", "true - random")
        }
        none = tables.without(condition)
        cells = [
            setting_name(pd.Series(condition)),
            f"{condition['number']}, {weight_name(condition['weight'])}",
            f"{points(none.mean(), sign=False)} %",
            *(interval(row) for row in rows.values()),
            rows["true - none"]["verdict"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shuffled_table(tables: Tables) -> str:
    """Return the differences to shuffled pairs, or nothing without such runs."""
    rows = tables.main[(tables.main.contrast == "true - shuffled") & (tables.main.seeds > 0)]
    if rows.empty:
        return "No run with shuffled pairs is finished yet."
    lines = ["| setting | weight | true - shuffled | corrected p |", "|---|---|---|---|"]
    for _, row in rows.iterrows():
        cells = (setting_name(row), weight_name(row["weight"]), interval(row), p_value(row["p_holm"]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measures_table(tables: Tables) -> str:
    """Return the difference between true and random anchors by other measures, averaged over complete comparisons."""
    measures = {
        "recovery_80": "above .8",
        "recovery_90": "above .9",
        "recovery_95": "above .95",
        "raw_encoder_95": "the paper's rule",
        "fvu": "variance unexplained",
    }
    done = complete(tables)
    done = done[done.contrast == "true - random"]
    if done.empty:
        return "No comparison is complete yet."
    lines = ["| setting | comparisons | " + " | ".join(measures.values()) + " |", "|---" * (len(measures) + 2) + "|"]
    values = Values(tables.runs)
    for setting, group in done.groupby(SETTING, sort=False):
        cells = [setting_name(pd.Series(dict(zip(SETTING, setting, strict=True)))), str(len(group))]
        for measure in measures:
            each = [
                differences(values, condition, "true - random", measure)
                for condition in group[CONDITION].to_dict("records")
            ]
            cells.append(interval(summary(pd.concat(each, axis=1).mean(axis=1).to_numpy())))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def paper_rule(tables: Tables) -> str:
    """Return how much room the paper's rule has."""
    runs = tables.runs[(tables.runs.start == 0) & ~tables.runs.method.str.endswith("_fast")]
    most = points(runs.raw_encoder_95.max(), sign=False)
    mean = f"{runs.raw_encoder_mip.mean():.2f}".removeprefix("0")
    none = runs[(runs.anchors == "none") & (runs.source == "paper")]
    low, high = (points(none[f"recovery_{tau}"].mean(), sign=False) for tau in ("80", "95"))
    return (
        f"By this rule, runs recover at most {most} %, so it cannot show a gain: their mean largest inner product is "
        f"{mean}. Without anchors, {low} % of the features are recovered above .8 and {high} % above .95."
    )


def told(tables: Tables, numbers: tuple[int, ...]) -> str:
    """Return what became of some predictions, in a sentence each."""
    sentences = []
    for number in numbers:
        row = tables.outcomes[tables.outcomes.number == number].iloc[0]
        if row["outcome"] == "not complete":
            continue
        start = str(row["measure"]).startswith("start_")
        found = f"{row['mean']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})".replace("0.", ".")
        found = found if start else f"{interval(row)} points"
        sentences.append(f"In {METHODS[row['method']]} it is {found}: prediction {number} is {row['outcome']}.")
    return " ".join(sentences) or "The runs that would tell are not complete."


def predictions_table(tables: Tables) -> str:
    """Return the predictions with their outcomes."""
    lines = ["| | predicted | found | outcome |", "|---|---|---|---|"]
    for _, row in tables.outcomes.iterrows():
        if str(row["measure"]).startswith("start_"):
            found = "" if not row["seeds"] else f"{row['mean']:.3f}"
            if row["seeds"] and np.isfinite(row["low"]):
                found += f" ({row['low']:.3f} to {row['high']:.3f})"
        else:
            found = interval(row)
        lines.append(f"| {row['number']} | {row['statement']} | {found} | {row['outcome']} |")
    return "\n".join(lines)


def pilot_table(tables: Tables) -> str:
    """Return the recoveries of the pilot at the steps that were chosen."""
    lines = ["| bench and method | steps | recovery without anchors |", "|---|---|---|"]
    for (source, method), steps in STEPS.items():
        pilot = tables.pilot
        rows = pilot[(pilot.source == source) & (pilot.method == method) & (pilot.steps == steps)][MAIN]
        found = ", ".join(points(value, sign=False) for value in rows) + " %" if len(rows) else "not in the pilot"
        lines.append(f"| {METHODS[method]}{BENCHES[source]} | {steps} | {found} |")
    return "\n".join(lines)


def split_table(tables: Tables) -> str:
    """Return the effects on features beside anchored ones and apart from them, on split samples."""
    found = tables.effects[(tables.effects.source == "split") & (tables.effects.seeds > 0)]
    if found.empty:
        return "No run on split samples is finished yet."
    lines = [
        "| method, weight | contrast | features beside anchored ones | features apart from them |",
        "|---|---|---|---|",
    ]
    for values, group in found.groupby(CONDITION, sort=False):
        condition = dict(zip(CONDITION, values, strict=True))
        for contrast in ("true - none", "random - none", "true - random"):
            rows = group[group.contrast == contrast].set_index("measure")
            name = f"{METHODS[condition['method']]}, {weight_name(condition['weight'])}"
            cells = (name, contrast, *(interval(rows.loc[f"recovery_{part}_90"]) for part in ("beside", "apart")))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def starts_table(tables: Tables) -> str:
    """Return how much two starts agree, by kind of anchors."""
    second = tables.runs[tables.runs.start == 1]
    if second.empty:
        return "No run from a second start is finished yet."
    measures = {
        "start_feature_cosine": "columns of a feature",
        "start_recovered_both": "features recovered by both",
        "start_column_cosine": "all active columns",
    }
    lines = ["| setting | anchors, weight | seeds | " + " | ".join(measures.values()) + " |", "|---" * 6 + "|"]
    second = second.assign(order=second.anchors.map({"none": 0, "true": 1, "random": 2}))
    second = second.sort_values(["method", "clip", "weight", "order"], ascending=[False, True, True, True])
    for (source, method, clip, weight, kind), rows in second.groupby(
        ["source", "method", "clip", "weight", "anchors"], sort=False
    ):
        name = setting_name(pd.Series({"source": source, "method": method, "clip": clip}))
        given = "none" if kind == "none" else f"{kind}, {weight_name(weight)}"
        cells = [
            name,
            given,
            str(len(rows)),
            *(f"{rows[measure].mean():.3f}".removeprefix("0") for measure in measures),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def replaced_table(tables: Tables) -> str:
    """Return the kept runs with an effect of anchors on other features, and what they lack."""
    dose = tables.dose.assign(effect=tables.dose.recovery - tables.dose.recovery_none)
    lines = ["| kept runs | effect in points | what they lack |", "|---|---|---|"]
    link = "[30 anchors, cosines above .95](../explain/first_author/anchoring_dose_paper_runs.csv)"
    for method, name in (("topk_short", "TopK, clipped"), ("topk_short_unclipped", "TopK, not clipped")):
        rows = dose[dose.method == method]
        found = ", ".join(
            f"{points(effect)} (weight {weight_name(weight)})"
            for weight, effect in rows.groupby("lambda_anchor").effect.mean().items()
        )
        without = points(rows.recovery_none.mean(), sign=False)
        lines.append(f"| {link}: {name} | {found} | random directions; {without} % are recovered without anchors |")
    relu = tables.relu
    kept = relu[(relu.parameter == "sparsity") & (relu.value == 0.95) & (relu.method == "relu")]
    row: Any = kept[(kept.metric == "gt_recovery_decoder_unanchored") & (kept.protocol == "paper")].iloc[0]
    link = "[100 anchors, S = .95](../paper/relu_effects.csv)"
    lines.append(
        f"| {link}: ReLU of protocol `paper`, not clipped | {points(row.difference_mean)} (weight .1) | random "
        "directions; two seeds were run because the first looked good |"
    )
    link = "[Table 1](../paper/README.md#what-30-anchors-change)"
    lines.append(f"| {link} | not shown | room for a gain: decoders recover nearly all features, encoder rows few |")
    return "\n".join(lines)


def faster(tables: Tables, method: str) -> dict[str, float]:
    """Return the effect of twice the learning rate, without anchors."""
    none, fast = (
        tables.without({"source": "paper", "method": name, "clip": False}) for name in (method, f"{method}_fast")
    )
    return summary((fast - none).dropna().to_numpy())


def fast_table(tables: Tables) -> str:
    """Return the gain of twice the learning rate without anchors, beside those of clipped anchors of weight 10."""
    lines = [
        "| method | twice the learning rate, no anchors | random anchors, clipped | true anchors, clipped |",
        "|---" * 4 + "|",
    ]
    for method in ("topk", "relu"):
        gain = faster(tables, method)
        if not gain["seeds"]:
            return "No run at twice the learning rate is finished yet."
        condition = {"source": "paper", "method": method, "clip": True, "number": 100, "weight": 10.0}
        found = (interval(tables.effect(condition, f"{kind} - none")) for kind in ("random", "true"))
        cells = (METHODS[method], interval(gain), *found)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def real_table(tables: Tables) -> str:
    """Return the effects on the other classes of real activations."""
    if tables.real is None or tables.real.empty:
        return "No run on real activations is finished yet."
    lines = [
        "| source | weight | latents | F1 without anchors | true - none | true - random |",
        "|---|---|---|---|---|---|",
    ]
    measures = {"f1": "all", "f1_free": "without an anchor"}
    for (source, clip), rows in tables.real.groupby(["source", "clip"], sort=False):
        at = rows.set_index(["anchors", "weight", "seed"]).sort_index()
        for weight in sorted(set(rows.weight) - {0}):
            for measure, what in measures.items():
                none, true, random = (
                    at.loc[(kind, given), measure] if (kind, given) in at.index.droplevel(2) else pd.Series(dtype=float)
                    for kind, given in (("none", 0.0), ("true", weight), ("random", weight))
                )
                cells = (
                    f"{REAL[source]}, {'clipped' if clip else 'not clipped'}",
                    weight_name(weight),
                    what,
                    f"{none.mean():.3f}".removeprefix("0"),
                    decimals(true - none),
                    decimals(true - random),
                )
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def real_prediction(tables: Tables) -> str:
    """Return the prediction on real activations, and what was found."""
    predicted = "We predicted that true anchors do not raise this F1 by more than .02 over random ones."
    if tables.real is None:
        return predicted
    rows = tables.real[tables.real.anchors != "none"]
    by_kind = rows.pivot_table(index=["source", "clip", "weight", "seed"], columns="anchors", values="f1")
    found = (by_kind["true"] - by_kind["random"]).groupby(["source", "clip", "weight"]).mean()
    largest = f"{decimal(found.min())} to {decimal(found.max())}"
    sources = " and ".join({"clip": "CLIP", "words": "SmolLM2"}[source] for source in rows.source.unique())
    return f"{predicted} The mean differences are {largest} ({sources})."


def decimals(found: pd.Series) -> str:
    row = summary(found.dropna().to_numpy())
    if not row["seeds"]:
        return ""
    if not np.isfinite(row["low"]):
        return f"{decimal(row['mean'])} ({row['seeds']:g} seed{'s' if row['seeds'] > 1 else ''})"
    return f"{decimal(row['mean'])} ({decimal(row['low'])} to {decimal(row['high'])})"


def decimal(value: float) -> str:
    """Return a number below 1 with its sign, and without the nought."""
    return f"{value:+.3f}".replace("0.", ".")


def draw(tables: Tables) -> Figure:
    """Draw the effect of true and of random anchors over their weight, for TopK and ReLU, clipped and not."""
    with style():
        figure = Figure(figsize=(9.6, 5.6), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        for axes, (method, clip) in zip(
            panels.flat, [(method, clip) for method in ("topk", "relu") for clip in (False, True)], strict=True
        ):
            for colour, kind in zip(PALETTE, ("true", "random"), strict=False):
                rows = tables.main[
                    (tables.main.source == "paper")
                    & (tables.main.method == method)
                    & (tables.main["clip"] == clip)
                    & (tables.main.contrast == f"{kind} - none")
                    & (tables.main.seeds > 0)
                ].sort_values("weight")
                for number, line in ((100, "-"), (30, "--")):
                    part = rows[rows.number == number]
                    if part.empty:
                        continue
                    label = f"{kind} directions, {number} anchors"
                    shift = 0.94 if kind == "true" else 1.06
                    at = part.weight * shift
                    axes.plot(at, 100 * part["mean"], line, color=colour, marker="o", markersize=4, label=label)
                    axes.vlines(at, 100 * part["low"], 100 * part["high"], color=colour, linewidth=1)
            axes.axhline(0, color=GREY, linewidth=1)
            axes.set_xscale("log")
            axes.set_title(f"{METHODS[method]}, gradients {'clipped at norm 1' if clip else 'not clipped'}", fontsize=9)
        for axes in panels[1]:
            axes.set_xlabel("weight of anchors")
        figure.supylabel("recovery of features without an anchor\n(points more than without anchors)", fontsize=9)
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def finished(tables: Tables) -> set[tuple[str, ...]]:
    """Return the keys of the planned runs that are finished."""
    names = [field.name for field in fields(Run)]
    done = {tuple(str(row[name]) for name in names) for row in tables.runs[names].to_dict("records")}
    return done & {run.key for run in scored_runs()}


def status(tables: Tables) -> str:
    planned, done = scored_runs(), finished(tables)
    spent = tables.runs.core_seconds.sum() / 3600
    cost = f"{tables.runs.core_seconds.median():.0f} core-seconds a run, {spent:.1f} core-hours together"
    if len(done) < len(planned):
        return f"**The experiment is not complete: {len(done)} of {len(planned)} planned runs are in** ({cost})."
    return f"All {len(planned)} planned runs are in ({cost})."


def missing(tables: Tables) -> str:
    """Return what is not finished yet."""
    done = finished(tables)
    groups: dict[str, list[bool]] = {}
    for run in scored_runs():
        name = setting_name(pd.Series(asdict(run))) + (", second start" if run.start else "")
        groups.setdefault(name, []).append(run.key in done)
    left = {name: found for name, found in groups.items() if not all(found)}
    lines = ["| setting | finished runs | planned |", "|---|---|---|"]
    lines += [f"| {name} | {sum(found)} | {len(found)} |" for name, found in left.items()]
    for source, name in REAL.items():
        number = 0 if tables.real is None else int((tables.real.source == source).sum())
        planned = len(list(planned_runs([source])))
        if number < planned:
            lines.append(f"| {name} | {number} | {planned} |")
    return "\n".join(lines) if len(lines) > 2 else "Nothing that was planned is missing."


def complete(tables: Tables) -> pd.DataFrame:
    """Return the rows of complete comparisons."""
    return tables.main[tables.main.verdict != "not complete"]


def span(rows: pd.DataFrame) -> str:
    """Return the range of mean differences in points."""
    low, high = points(rows["mean"].min()), points(rows["mean"].max())
    return low if low == high else f"{low} to {high}"


def answer(tables: Tables) -> str:
    """Return the first two sentences: which methods gain from true anchors, and what clipping changes."""
    by_clip = []
    for clip in (False, True):
        rows = complete(tables)[complete(tables)["clip"] == clip]
        by_clip.append([rows[rows.contrast == f"{kind} - none"] for kind in ("true", "random")])
    (true, _), (clipped_true, clipped_random) = by_clip
    if true.empty or clipped_true.empty:
        return "**No comparison has all of its five seeds yet.**"
    helps = true[true.verdict == "helps"]
    methods = sorted({METHODS[method].split()[0] for method in helps.method})
    numbers = " or ".join(str(number) for number in sorted(set(helps.number)))
    others = true[~true.method.map(lambda method: METHODS[method].split()[0]).isin(methods)]
    gains = (
        f"{' and '.join(methods)} {'is' if len(methods) == 1 else 'are'} shown to gain from {numbers} true anchors "
        f"({span(helps)} points in the recovery of the other features), and no other method is ({span(others)})"
        if methods
        else f"no method is shown to gain from true anchors ({span(true)} points in the recovery of the other features)"
    )
    return (
        f"**Without gradient clipping, {gains}.** **With gradients clipped at norm 1, true anchors raise the recovery "
        f"by {span(clipped_true)} points, and random directions by {span(clipped_random)}, so most of this gain needs "
        f"no truth** (means over five seeds)."
    )


def counts(tables: Tables) -> str:
    """Return the number of comparisons by verdict."""
    rows = complete(tables)
    by_verdict = rows[rows.contrast == "true - none"].verdict.value_counts()
    if by_verdict.empty:
        return "No comparison is complete, so none has a verdict."
    helps, direction, harms, nothing = (
        int(by_verdict.get(name, 0)) for name in ("helps", "any direction helps", "harms", "not shown")
    )
    fast = [
        f"{points(gain['mean'])} points ({METHODS[method]})"
        for method, gain in ((method, faster(tables, method)) for method in ("topk", "relu"))
        if gain["seeds"] == len(SEEDS)
    ]
    control = (
        f" Twice the learning rate without anchors or clipping changes the recovery by {' and '.join(fast)}."
        if fast
        else ""
    )
    return (
        f"True anchors are shown to beat both no anchors and random directions in {helps} of {by_verdict.sum()} "
        f"complete comparisons. In {direction} they beat no anchors, but are not shown to beat random directions. "
        f"In {harms} they are shown to harm. In {nothing} no effect is shown.{control}"
    )


def by_verdict(tables: Tables) -> str:
    """Return a table of the complete comparisons by verdict."""
    rows = complete(tables)
    rows = rows[rows.contrast == "true - none"].sort_values(["number", "weight"], ascending=[False, True])
    if rows.empty:
        return ""
    lines = ["| verdict | setting | anchors: weights |", "|---|---|---|"]
    for verdict in ("helps", "any direction helps", "harms", "not shown"):
        for values, part in rows[rows.verdict == verdict].groupby(SETTING, sort=False):
            name = setting_name(pd.Series(dict(zip(SETTING, values, strict=True))))
            weights = [
                f"{number}: {', '.join(map(weight_name, of_number.weight))}"
                for number, of_number in part.groupby("number", sort=False)
            ]
            lines.append(f"| {verdict} | {name} | {'; '.join(weights)} |")
    return "\n".join(lines)


TEMPLATE = """# Does anchoring help?

<!-- made by python -m examples.anchoring_effect.page -->

{answer}

{status} {counts}

![Recovery of features without an anchor over the weight of anchors, true beside random](anchoring_effect.png)

*Recovery counts features without an anchor that a decoder column matches by a cosine above .9. Differences are paired
by seed; bars are 95 % intervals over at most five seeds, and a point without a bar has fewer than three.*

{by_verdict}

Comparisons of one setting share their runs without anchors, so they are not independent.

## Every comparison

The table has the recovery without anchors, and differences in points with 95 % t intervals over seeds. True anchors
*help* if they beat no anchors and random directions, both with a corrected p below .05 (Holm, over all planned
comparisons). *Any direction helps* if they beat no anchors only. They *harm* if they are worse than none.

{conditions}

All measures, with p values: [effects.csv](effects.csv) by comparison, [settings.csv](settings.csv) averaged over the
weights of a setting, [runs.csv](runs.csv) by run.

### Pairs of sites

{shuffled}

### Other measures

The table has the difference between true and random anchors in points, averaged over a setting's complete comparisons.
The paper's rule counts features whose inner product with an encoder row, which is not normalised, exceeds .95.
{rule}

{measures}

## Why

Two explanations of a gain were to be measured.

**Do anchors explain the samples away that anchored features share with others?** On split samples, half of the other
features occur only beside anchored features, and half only without them. All are active in 1 % of the samples. If
anchors explain samples away, the first half gains more.

{split}

The difference between both halves, in what true anchors gain over random ones, averages both weights. {split_told}

**Do anchors lead different starts to the same minimum?** Each run is compared with a run of the same data and another
start. *Columns of a feature* is the mean cosine between the two columns that match a feature best. *Features recovered
by both* is a share of those that either run recovers. *All active columns* is the mean largest cosine of a column that
is not anchored with such a column of the other run.

{starts}

The difference between true and random anchors, in the cosine of both columns of a feature, averages the weights 1
and 100, without clipping. {starts_told}

**Is the gain under clipping more than a larger step?** Without anchors, twice the learning rate has this effect on the
recovery of the same features, not clipped. The other columns repeat the effects at weight 10:

{fast}

## Real activations

Half of the classes' means are anchors, and the other half is judged: 90 classes of the default's CLIP, and the 200 most
frequent tokens of SmolLM2 in layer 12. Random anchors have the covariance of the activations. The table has the best
F1 with which one latent tells a class, as a mean over the other classes. Class means are close to each other, so
anchored latents match other classes by themselves. Hence the second row of each weight leaves the anchored latents out.
Intervals are 95 % over seeds, and not corrected ([all measures](real.csv)). {real_prediction}

{real}

## Predictions

Predictions, test and list of runs were committed before the first scored run. ReLU of protocol `paper` was added later,
with its two predictions, before its own first run. A prediction of no effect is right if the whole interval lies within
its margin. It is wrong if the mean lies outside.

{predictions}

## Protocol

- **Bench.** The paper's: n = 1000 features in 768 dimensions, S = .99, M = .1, 100,000 samples, 16,000 latents. The
  first 100 features are the true anchors. All runs of a seed are judged on the features after these 100.
- **Training.** Protocol `best` at this scale: Adam, lr 1e-3, batches of 1,024, warm-up over the first 5 % of the steps,
  decay over the last 20 %. TopK has k = 64, and ReLU and JumpReLU hold an L0 of 64. Clipping is at norm 1.
- **Random anchors** are features of another bench, drawn by the same rule from another seed. A pair of sites also has
  *shuffled* anchors: the true input direction of one feature with the target direction of another.
- **Steps.** Longer trainings recover every feature, so trainings end early. The pilot chose the number of steps on
  seeds 900 and 901, which are not scored ([pilot.csv](pilot.csv)). Its recoveries:

{pilot}

So the experiment measures how anchors change the way to the features, and not the end of a long training.

## What is missing

{missing}

Not planned are other forms of anchoring, and trainings that end where recovery no longer grows.

## Which kept runs this replaces

Earlier pages disagree, because their runs differ in clipping and weight, and in room for a gain. They stay as records.
For the question of this page, the runs here replace them as far as they are complete:

{replaced}

## Commands

<!-- needs: hours -->
```sh
python -m examples.anchoring_effect.runs scored docs/results/anchoring-effect/runs.csv
python -m examples.anchoring_effect.judge docs/results/anchoring-effect
python -m examples.anchoring_effect.page docs/results/anchoring-effect
```

The first command skips finished runs. Every row of `runs.csv` has its commit, versions, processor and core-seconds.
`examples/anchoring_effect/real.py` names the commands for real activations.
"""


def text(tables: Tables) -> str:
    """Return the page."""
    page = TEMPLATE.format(
        answer=answer(tables),
        status=status(tables),
        counts=counts(tables),
        by_verdict=by_verdict(tables),
        conditions=conditions_table(tables),
        shuffled=shuffled_table(tables),
        rule=paper_rule(tables),
        measures=measures_table(tables),
        split=split_table(tables),
        starts=starts_table(tables),
        split_told=told(tables, (20, 21)),
        starts_told=told(tables, (22, 23)),
        fast=fast_table(tables),
        real_prediction=real_prediction(tables),
        real=real_table(tables),
        predictions=predictions_table(tables),
        pilot=pilot_table(tables),
        replaced=replaced_table(tables),
        missing=missing(tables),
    )
    return "\n".join(filled(line) for line in page.splitlines()) + "\n"


def filled(line: str) -> str:
    """Break a generated line of prose; tables, pictures and headings stay on a line."""
    if len(line) <= WIDTH or line.startswith(("|", "!", "#")):
        return line
    return textwrap.fill(
        line, WIDTH, subsequent_indent="  " * line.startswith("- "), break_long_words=False, break_on_hyphens=False
    )


def main() -> None:
    folder = Path(sys.argv[1])
    tables = Tables(folder)
    (folder / "README.md").write_text(text(tables))
    save_png(draw(tables), folder / "anchoring_effect.png")
    print(f"{len(SEEDS)} seeds, {len(tables.runs)} runs: {folder / 'README.md'}")


if __name__ == "__main__":
    main()
