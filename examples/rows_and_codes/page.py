"""Write the tables and the picture of "Rows or codes?", and judge the predictions, from the CSV files.

    python -m examples.rows_and_codes.page docs/results/posterior

It reads `rows_and_codes.csv`, `real.csv`, `clip.csv`, `stability.csv` and `predictions.csv`, writes `outcomes.csv` and
`rows_and_codes.png`, and inserts tables into `README.md`. `sentences` also reads `causes.csv`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.shown import show
from sdlstudy.rendering.figures import PALETTE, save_png, style
from sdlstudy.results.tables import read_csv, write_csv

STEPS, SMALL, SAELENS, FULL, REAL, LOSS = (
    f"<!-- {name}: examples.rows_and_codes.page -->" for name in ("steps", "small", "saelens", "full", "real", "loss")
)
LONGER, LONGER_SAELENS = (f"{recipe}, 10,240,000 samples" for recipe in ("ours", "SAELens' recipe"))
LAYER = 12
"""Layer of the picture and of the first screen."""
CODES = (
    "trained encoder",
    "trained encoder, equal L0",
    "trained encoder, trained further",
    "BatchTopK encoder, trained anew",
    "logistic encoder",
    "logistic encoder, twice the samples",
    "logistic encoder, four times the samples",
    "posterior",
    "OMP with a threshold",
    "OMP, fixed k",
)
"""Kinds of codes in the tables; the CSV files also contain gradient pursuit with a fixed k, and true supports."""
ROWS = {
    "ours, detached": "ours",
    "SAELens' recipe, 3,072,000 samples": "SAELens' recipe",
    "ours, detached, refined": "ours, refined",
    "SAELens' recipe, 3,072,000 samples, refined": "SAELens' recipe, refined",
    "true": "true",
}
"""Rows at the small size. The CSV calls our rows with plain prefixes "ours"."""
PICTURED = {
    "trained encoder": "trained encoder, its L0",
    "trained encoder, equal L0": "trained encoder, equal L0",
    "trained encoder, trained further": "trained further, equal L0",
    "BatchTopK encoder, trained anew": "BatchTopK, trained anew",
    "logistic encoder": "logistic encoder",
    "posterior": "posterior",
    "OMP with a threshold": "OMP with a threshold",
}
COLOURS = {
    **dict.fromkeys(("ours", "TopK"), PALETTE[0]),
    **dict.fromkeys(("SAELens' recipe", "SAELens BatchTopK"), PALETTE[1]),
    **dict.fromkeys(("ours, refined", "TopK, refined"), PALETTE[2]),
    **{"true": PALETTE[3], "BatchTopK": PALETTE[4], "SAELens' recipe, refined": PALETTE[5]},
}


def differences(runs: pd.DataFrame, prediction: pd.Series) -> pd.Series:
    """Return the predicted measure for each seed, or its difference between two dictionaries."""

    def values(rows: str, codes: str) -> pd.Series:
        chosen = runs[(runs["size"] == prediction["size"]) & (runs["rows"] == rows) & (runs["codes"] == codes)]
        return chosen.set_index("seed")[prediction["measure"]]

    measured = values(prediction["rows"], prediction["codes"])
    if pd.isna(prediction["minus_rows"]):
        return measured
    return (measured - values(prediction["minus_rows"], prediction["minus_codes"])).dropna()


def outcomes(runs: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Judge each prediction: right if the mean over seeds lies between its bounds."""
    judged = []
    for _, prediction in predictions.iterrows():
        measured = differences(runs, prediction)
        mean, half = summary(measured)
        right = prediction["low"] <= mean <= prediction["high"]
        outcome = "not measured" if not len(measured) else "right" if right else "wrong"
        judged.append({**prediction, "seeds": len(measured), "mean": mean, "half_width": half, "outcome": outcome})
    return pd.DataFrame(judged)


def summary(values: pd.Series) -> tuple[float, float]:
    """Return the mean, and half the width of its 95 % t interval."""
    n = len(values)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5) if n > 1 else float("nan")
    return float(values.mean()) if n else float("nan"), half


def cell(values: pd.Series, digits: int = 3) -> str:
    """Return mean and interval as the pages write them, ".893 ± .006"; the mean alone for fewer than three values."""
    mean, half = summary(values.dropna())
    if np.isnan(mean):
        return ""
    text = f"{mean:.{digits}f}".replace("0.", ".", 1) if abs(mean) < 1 else f"{mean:.{digits}f}"
    return text if values.count() < 3 else f"{text} ± {half:.{digits}f}".replace("± 0.", "± .")


def table(runs: pd.DataFrame, by: dict[str, str], columns: dict[str, tuple[str, int]]) -> str:
    """Return a table with a row for each kind of rows and codes."""
    lines = ["| rows | codes | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for rows, title in by.items():
        for codes in CODES:
            chosen = runs[(runs["rows"] == rows) & (runs["codes"] == codes)]
            if len(chosen):
                cells = [cell(chosen[name], digits) for name, digits in columns.values()]
                lines.append(f"| {title} | {codes} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def steps(runs: pd.DataFrame) -> str:
    """Return F1 after each step from a trained dictionary to searched codes of refined rows, for each recipe."""
    recipes = {
        "1,024 features, ours": ("small", "ours, detached"),
        "1,024, SAELens' recipe": ("small", "SAELens' recipe, 3,072,000 samples"),
        "16,384 features, ours": ("saelens", "ours"),
        "16,384, ours, five times the samples": ("saelens", LONGER),
        "16,384, SAELens' recipe, the same": ("saelens", LONGER_SAELENS),
    }
    changes = {
        "trained encoder at its L0": ("", "trained encoder"),
        "the same at the L0 of posterior codes": ("", "trained encoder, equal L0"),
        "posterior codes of the same rows": ("", "posterior"),
        "posterior codes of refined rows": (", refined", "posterior"),
        "an ordinary encoder for refined rows": (", refined", "logistic encoder"),
    }
    same = runs.replace({"codes": {"logistic encoder, four times the samples": "logistic encoder"}})
    f1 = same.set_index(["size", "rows", "codes"])["f1_score"].sort_index()
    lines = ["| codes | " + " | ".join(recipes) + " |", "|---" * (len(recipes) + 1) + "|"]
    for title, (suffix, codes) in changes.items():
        keys = [(size, rows + suffix, codes) for size, rows in recipes.values()]
        cells = [cell(f1.loc[[key]]) if key in f1.index else "" for key in keys]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(runs: pd.DataFrame, real: pd.DataFrame) -> Figure:
    """Draw F1 on both sizes of the bench and the unexplained variance on SmolLM2, for each kind of codes."""
    same = {
        "logistic encoder, four times the samples": "logistic encoder",
        LONGER_SAELENS: "SAELens' recipe, 3,072,000 samples",
        f"{LONGER_SAELENS}, refined": "SAELens' recipe, 3,072,000 samples, refined",
        "ours": "ours, detached",
        "ours, refined": "ours, detached, refined",
    }
    large = runs[runs["size"] == "saelens"].replace(same)
    on_smollm2 = {name: name for name in ("TopK", "BatchTopK", "SAELens BatchTopK", "TopK, refined")}
    with style():
        figure = Figure(figsize=(10, 3.7), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        _dots(panels[0], large, ROWS, "f1_score", "F1, 16,384 features")
        _dots(panels[1], runs[runs["size"] == "small"], ROWS, "f1_score", "F1, 1,024 features")
        _dots(panels[2], real, on_smollm2, "fvu", "variance unexplained, SmolLM2")
        panels[0].set_yticks(range(len(PICTURED)), PICTURED.values())
        panels[0].invert_yaxis()
        for axes in panels:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=7, frameon=False)
            axes.grid(axis="x", color="0.9")
    return figure


def _dots(axes: Any, runs: pd.DataFrame, by: dict[str, str], measure: str, title: str) -> None:
    present = {rows: label for rows, label in by.items() if (runs["rows"] == rows).any()}
    for number, (rows, label) in enumerate(present.items()):
        chosen = runs[(runs["rows"] == rows) & runs["codes"].isin(PICTURED)]
        by_codes = [(codes, *summary(values), len(values)) for codes, values in chosen.groupby("codes")[measure]]
        places = [list(PICTURED).index(codes) + 0.14 * (number - (len(present) - 1) / 2) for codes, *_ in by_codes]
        means = [mean for _, mean, *_ in by_codes]
        halves = [half if n > 2 else 0.0 for *_, half, n in by_codes]
        axes.errorbar(means, places, xerr=halves, fmt="o", ms=4, lw=1, color=COLOURS[label], label=label)
    axes.set_xlabel(title)


def tables(folder: Path) -> dict[str, str]:
    """Return the tables of the page, by the line that they follow."""
    runs, real = read_csv(folder / "rows_and_codes.csv"), read_csv(folder / "real.csv")
    judged = {
        **{"F1": ("f1_score", 3), "MCC": ("mcc", 3), "L0": ("sae_l0", 2), "FVU": ("fvu", 3)},
        "µs": ("microseconds", 1),
    }
    losses = {
        **{"L0": ("l0", 1), "FVU": ("fvu", 3), "KL": ("kl_spliced", 3), "KL recovered": ("kl_recovered_mean", 3)},
        **{"cross-entropy recovered": ("recovered_mean", 3), "µs": ("microseconds", 0)},
    }
    full = runs[runs["size"] == "full"].copy()
    full["rows"] = [f"refined, seed {seed}" for seed in full["seed"]]
    in_the_model = real[real["kl_spliced"].notna()].sort_values("layer", kind="stable")
    in_the_model = in_the_model.assign(rows=[f"{row.rows}, layer {row.layer}" for row in in_the_model.itertuples()])
    untimed = {name: column for name, column in judged.items() if name != "µs"}
    saelens = {
        "ours": "ours, 2 million samples",
        LONGER: "ours, 10 million",
        LONGER_SAELENS: "SAELens' recipe, 10 million",
        "ours, refined": "ours, 2 million, refined",
        f"{LONGER}, refined": "ours, 10 million, refined",
        f"{LONGER_SAELENS}, refined": "SAELens' recipe, 10 million, refined",
    }
    return {
        STEPS: steps(runs),
        SMALL: table(runs[runs["size"] == "small"], ROWS, untimed),
        SAELENS: table(runs[runs["size"] == "saelens"], saelens, judged),
        FULL: table(full, {name: name for name in full["rows"].unique()}, untimed),
        REAL: errors(real, read_csv(folder / "clip.csv"), read_csv(folder / "stability.csv")),
        LOSS: table(in_the_model, {name: name for name in in_the_model["rows"].unique()}, losses),
    }


def errors(real: pd.DataFrame, clip: pd.DataFrame, stability: pd.DataFrame) -> str:
    """Return a table of the unexplained variance: a line for each activations and rows, a column for each codes."""
    shared = stability.groupby(["layer", "rows"])["shared"].mean()
    codes = {
        "trained encoder": "trained encoder",
        "trained encoder, equal L0": "the same, equal L0",
        "trained encoder, trained further": "trained further",
        "BatchTopK encoder, trained anew": "trained anew",
        "logistic encoder": "logistic",
        "posterior": "posterior",
        "OMP with a threshold": "OMP",
    }
    lines = [
        "| activations | rows | seeds | shared | L0: trained, posterior, OMP | " + " | ".join(codes.values()) + " |",
        "|---" * (len(codes) + 5) + "|",
    ]
    layers = sorted(real["layer"].unique())
    places = {f"SmolLM2, layer {layer}": real[real["layer"] == layer] for layer in layers} | {"CLIP": clip}
    for layer, (place, runs) in zip([*layers, None], places.items(), strict=True):
        for rows in runs["rows"].unique():
            chosen = runs[runs["rows"] == rows].set_index("codes")
            fvu = [cell(chosen.loc[[name], "fvu"]) if name in chosen.index else "" for name in codes]
            l0 = [
                cell(chosen.loc[chosen.index == name, "l0"], 1)
                for name in ("trained encoder", "posterior", "OMP with a threshold")
            ]
            counts = f"{', '.join(text.partition(' ')[0] for text in l0 if text)}"
            agreement = f"{shared[layer, rows]:.2f}".replace("0.", ".") if (layer, rows) in shared.index else ""
            head = f"| {place} | {rows} | {chosen['seed'].nunique()} | {agreement} | {counts} | "
            lines.append(head + " | ".join(fvu) + " |")
    return "\n".join(lines)


def of_picture(real: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the picture's layer."""
    return real[real["layer"] == LAYER]


def sentences(folder: Path) -> list[str]:
    """Return the sentences of the page whose numbers come from the runs."""
    runs, real = read_csv(folder / "rows_and_codes.csv"), read_csv(folder / "real.csv")
    f1 = runs[runs["size"] == "small"].pivot_table(index="seed", columns=["rows", "codes"], values="f1_score")
    fvu = runs[runs["size"] == "small"].groupby(["rows", "codes"])["fvu"].mean()
    l0_of = runs[runs["size"] == "small"].groupby(["rows", "codes"])["sae_l0"].mean()
    ours, refined, plain = f1["ours, detached"], f1["ours, detached, refined"], f1["ours"]
    saelens = f1["SAELens' recipe, 3,072,000 samples"]
    own, equal, anew_name = "trained encoder", "trained encoder, equal L0", "BatchTopK encoder, trained anew"
    pursuit, logistic = "OMP with a threshold", "logistic encoder"
    worlds = runs[(runs["size"] == "saelens") & (runs["rows"] == "ours, refined")].set_index("codes")
    encoder = worlds.loc["logistic encoder, four times the samples"]
    one_world = runs[(runs["size"] == "saelens") & (runs["seed"] == 20)].set_index(["rows", "codes"])
    large = one_world["f1_score"]
    trained_at_full_size = runs[(runs["size"] == "saelens") & (runs["rows"] == "ours") & (runs["codes"] == own)][
        "f1_score"
    ]
    three = [large[name] for name in ("ours", LONGER, LONGER_SAELENS)]
    short_ours, longer_ours, longer_saelens = (short(each[own]) for each in three)
    by_l0 = [short(each[equal] - each[own]) for each in three]
    by_codes = [short(each["posterior"] - each[equal]) for each in three]
    searched = large.xs("posterior", level="codes")
    names = ("ours", LONGER, LONGER_SAELENS)
    by_rows = [short(searched[f"{name}, refined"] - searched[name]) for name in names]
    best = [short(searched[f"{name}, refined"]) for name in names]
    full = runs[(runs["size"] == "full") & (runs["seed"] == 2)].set_index("codes")["f1_score"]
    in_the_model = real[real["kl_spliced"].notna()]
    model = in_the_model.groupby(["rows", "layer", "codes"]).mean(numeric_only=True)
    topk, refined_topk = model.loc["TopK", LAYER], model.loc["TopK, refined", LAYER]
    kl, error, l0 = topk["kl_spliced"], topk["fvu"], topk["l0"]
    further = "trained encoder, trained further"
    scored = model["kl_spliced"]
    by_layer = scored["TopK"].unstack("layer")
    columns = [pursuit, "posterior", own, further]
    of_others = {name: scored[name, LAYER][columns] for name in ("BatchTopK", "SAELens BatchTopK")}
    assert all(divergences.is_monotonic_increasing for divergences in of_others.values())
    late_saelens = scored["SAELens BatchTopK", 24]
    for _, divergences in scored.groupby(level=["rows", "layer"]):
        divergences = divergences.droplevel(["rows", "layer"])
        assert divergences.idxmin() == pursuit
        assert divergences["posterior"] < divergences.reindex([equal, further, anew_name]).min()
    by_rows_and_codes = real.groupby(["layer", "rows", "codes"])["fvu"].mean().unstack()
    gains = (by_rows_and_codes[equal] - by_rows_and_codes[further]).dropna()
    means = by_rows_and_codes.loc[LAYER].T
    stability = read_csv(folder / "stability.csv").groupby(["layer", "rows"])["shared"].mean()
    shared, late = (stability.loc[layer] for layer in (LAYER, 24))
    by_rows_on_clip = read_csv(folder / "clip.csv").groupby(["rows", "codes"])["fvu"].mean().unstack()
    clip, clip_gains = by_rows_on_clip.loc["TopK"], (by_rows_on_clip[equal] - by_rows_on_clip[further]).dropna()
    causes = read_csv(folder / "causes.csv").pivot_table(index="seed", columns="rows", values="f1_score")
    judged = outcomes(runs, read_csv(folder / "predictions.csv"))
    return [
        f"detached prefixes with sorted latents raise the F1 of the trained encoder by {cell(ours[own] - plain[own])}",
        f"its FVU from {short(fvu['ours', own])} to {short(fvu['ours, detached', own])}",
        f"between detached and plain prefixes is shown ({cell(ours[equal] - plain[equal])}; L0 of "
        f"{l0_of['ours, detached', equal]:.1f} and {l0_of['ours', equal]:.1f}); with posterior codes, detached ones "
        f"lead by {cell(ours['posterior'] - plain['posterior'])}",
        f"changes it by {cell(plain[equal] - plain[own])} on rows with plain prefixes, "
        f"{cell(saelens[equal] - saelens[own])} on those of SAELens' recipe, and {cell(ours[equal] - ours[own])} on "
        "ours",
        f"posterior codes add {cell(ours['posterior'] - ours[equal])} to our rows and "
        f"{cell(saelens['posterior'] - saelens[equal])} to those of SAELens' recipe",
        f"an encoder trained anew adds {cell(ours[anew_name] - ours[equal])}, and a logistic encoder "
        f"{cell(ours[logistic] - ours[equal])}",
        f"adds {cell(refined['posterior'] - ours['posterior'])} to our rows with detached prefixes, and "
        f"{cell(f1['ours, refined']['posterior'] - plain['posterior'])} to those with plain ones",
        f"F1 of {cell(ours[pursuit])} with a threshold and {cell(ours['OMP, fixed k'])} with a fixed k",
        f"an F1 of {cell(encoder['f1_score'])}, an MCC of {cell(encoder['mcc'])} and an explained variance of "
        f"{cell(encoder['explained_variance'])}",
        f"posterior codes have an F1 of {cell(worlds.loc['posterior', 'f1_score'])}",
        f"our encoder has {short_ours} after 2 million samples and {longer_ours} after 10 million, that of SAELens' "
        f"recipe {longer_saelens} after as many",
        f"A lower L0 ({one_world.loc[('ours', equal), 'sae_l0']:.1f} on our rows, "
        f"{one_world.loc[(LONGER_SAELENS, equal), 'sae_l0']:.1f} on those of SAELens' recipe) adds {by_l0[0]}, "
        f"{by_l0[1]} and {by_l0[2]}, codes {by_codes[0]}, {by_codes[1]} and {by_codes[2]}, and refinement "
        f"{by_rows[0]}, {by_rows[1]} and {by_rows[2]}",
        f"Refined rows have {best[0]}, {best[1]} and {best[2]}",
        f"mean shift changes F1 by {cell(causes['mean shift'] - causes['trained'])}, the refit by "
        f"{cell(causes['refit'] - causes['trained'])}",
        f"gives back {cell(causes['refit, parents removed'] - causes['refit'])}",
        f"a BatchTopK encoder has {short(full[anew_name])}, a logistic one with as many samples "
        f"{short(full[logistic])}",
        f"leaves {short(error[pursuit])} of the variance and a KL divergence of {short(kl[pursuit])} at an L0 of "
        f"{l0[pursuit]:.1f}",
        f"a BatchTopK encoder that is trained anew leaves {short(error[anew_name])} and {short(kl[anew_name])} at "
        f"{l0[anew_name]:.1f}",
        f"the trained encoder leaves {short(error[own])} and {short(kl[own])} at 32, and {short(error[equal])} and "
        f"{short(kl[equal])} with k lowered to {l0[equal]:.0f}",
        f"OMP with a threshold leaves a KL divergence of {listed(by_layer.loc[pursuit])}, posterior codes "
        f"{listed(by_layer.loc['posterior'])}, the trained encoder, with more active latents, "
        f"{listed(by_layer.loc[own])}, and the one trained further at the lower L0 {listed(by_layer.loc[further])}",
        f"on the rows of BatchTopK ({listed(of_others['BatchTopK'])}) and of SAELens' trainer "
        f"({listed(of_others['SAELens BatchTopK'])})",
        f"32.6 active latents ({listed(late_saelens[columns])})",
        f"Training the trained encoder further at the lower k leaves {short(means['TopK'][further])}.",
        f"two seeds share {shared['TopK']:.0%} of TopK's rows, {shared['BatchTopK']:.0%} of BatchTopK's and "
        f"{shared['SAELens BatchTopK']:.0%} of those by SAELens' trainer. Random samples share "
        f"{shared['random samples']:.0%}".replace("%", " %"),
        "TopK and BatchTopK share more than random samples "
        f"({100 * late['TopK']:.0f}, {100 * late['BatchTopK']:.0f} and {100 * late['random samples']:.0f} %)",
        f"400 steps more lower its error at equal L0 by {short(gains.min())} to {short(gains.max())} on SmolLM2 and "
        f"{short(clip_gains.min())} to {short(clip_gains.max())} on CLIP",
        f"On CLIP, OMP leaves {short(clip[pursuit])}, the trained encoder {short(clip[own])}, with k lowered "
        f"{short(clip[equal])} and trained further {short(clip[further])}, and an encoder that is trained anew "
        f"{short(clip[anew_name])}",
        f"of {(judged['outcome'] != 'not measured').sum()} that were measured, "
        f"{(judged['outcome'] == 'right').sum()} are right",
        f"On refined rows at layer 12, OMP leaves {short(refined_topk['kl_spliced'][pursuit])} at an L0 of "
        f"{refined_topk['l0'][pursuit]:.1f}, and posterior codes {short(refined_topk['kl_spliced']['posterior'])} at "
        f"{refined_topk['l0']['posterior']:.1f}",
        f"a cross-entropy of {in_the_model['clean'].mean():.2f} nats",
        f"predicted at .54 to .60 and has {short(trained_at_full_size.mean())}",
        f"encoders of three scored worlds have {short(trained_at_full_size.mean())}",
    ]


def listed(values: pd.Series) -> str:
    """Return three numbers or more as a list for a sentence."""
    *first, last = map(short, values)
    return f"{', '.join(first)} and {last}"


def short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def main(folder: Path) -> None:
    runs, real = read_csv(folder / "rows_and_codes.csv"), read_csv(folder / "real.csv")
    write_csv(folder / "outcomes.csv", outcomes(runs, read_csv(folder / "predictions.csv")))
    for begins, text in tables(folder).items():
        show(folder / "README.md", begins, text)
    save_png(picture(runs, of_picture(real)), folder / "rows_and_codes.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
