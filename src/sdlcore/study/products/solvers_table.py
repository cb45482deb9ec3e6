"""The table of solvers: what they found on benches and in activations, how well, and in how many seconds."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metrics import METRICS, recovery_name
from sdlcore.study.products.markup import number
from sdlcore.study.results.runs import RunsError, read_metrics

DECODER, ENCODER = recovery_name("decoder"), recovery_name("encoder")
COLUMNS = [
    "solver",
    "n",
    "activation_probability",
    "seed",
    "seconds",
    DECODER,
    ENCODER,
    "features_found",
    "fvu",
    "source",
    "train_samples",
    "l0",
]
READABLE = {
    "seconds": ("seconds", 1),
    # a decimal more than elsewhere, since solvers come close to all and to nothing
    DECODER: ("recovery: decoder", METRICS[DECODER].digits + 1),
    ENCODER: ("recovery: encoder", METRICS[ENCODER].digits + 1),
    "features_found": ("features found", 0),
    "fvu": (METRICS["fvu"].symbol, METRICS["fvu"].digits + 1),
    "l0": (METRICS["l0"].symbol, METRICS["l0"].digits),
}


def solvers_table(metrics: Iterable[str | Path], benches: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a run.

    Parameters
    ----------
    metrics
        ``metrics.json`` of each run, with ``history.csv`` and ``config.json`` beside it.
    benches
        Settings n, sparsity and train_samples of each source; None what others than benches lack.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`. Recovery is NaN where there is nothing to judge by. ``seconds`` are those of the history:
        reading, solving or training, and the encoder, not evaluation or the start of the process. ``features_found``
        are the atoms that a solver left, or the latents of a trained dictionary that are ever active.

    Raises
    ------
    RunsError
        If a file is unreadable.
    """
    rows = []
    for path in metrics:
        content = read_metrics(path)
        run, found = content["run"], content["metrics"]
        history, settings = last_row(Path(path).parent), _settings(Path(path).parent)
        bench = benches[run["source"]]
        atoms = history.get("atoms", settings.get("n_q", 0) * (1 - found["dead_fraction"]))
        row = {"solver": run["method"], "source": run["source"], "seed": run["seed"], "seconds": history["seconds"]}
        if bench["n"] is not None:
            row |= {"n": bench["n"], "activation_probability": round(1 - bench["sparsity"], 12)}
        row |= {"train_samples": bench["train_samples"], "features_found": round(atoms)}
        recovery = {name: found.get(name) for name in (DECODER, ENCODER)}
        rows.append(row | recovery | {name: found[name] for name in ("fvu", "l0")})
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"n": "Int64", DECODER: float, ENCODER: float})


def solvers_markdown(table: pd.DataFrame) -> str:
    """Return medians over seeds, one row a source and method, with the least recovery of the decoder."""
    rows = []
    for (source, solver), runs in table.groupby(["source", "solver"], sort=False):
        first = runs.iloc[0]
        bench = ["–", "–"] if pd.isna(first["n"]) else [str(first["n"]), f"{first['activation_probability']:g}"]
        facts = [source, solver, *bench, str(first["train_samples"])]
        facts += [
            str(len(runs)),
            *(number(float(runs[name].median()), digits) for name, (_, digits) in READABLE.items()),
        ]
        rows.append([*facts, number(float(runs[DECODER].min()), READABLE[DECODER][1])])
    heads = ["source", "solver", "n", "P(active)", "samples", "seeds", *(head for head, _ in READABLE.values())]
    frame = pd.DataFrame(rows, columns=[*heads, "recovery: decoder, least"])
    alignment = ["left"] * 2 + ["right"] * (len(frame.columns) - 2)
    text = frame.to_markdown(index=False, colalign=alignment, disable_numparse=True)
    caption = (
        "Solvers, which are told neither a number of features nor a sparsity: medians over seeds. Recovery is the "
        f"share of true features, of labelled samples that of the means of classes, within a cosine of {TAU:g} of some "
        "decoder column or encoder row; other activations have nothing to judge it by. Seconds are those of the "
        "machine that ran it."
    )
    return f"{caption}\n\n{text}\n"


def last_row(folder: Path) -> dict[str, float]:
    """Return the last row of a run's history."""
    try:
        frame = pd.read_csv(folder / "history.csv")
    except (OSError, ValueError) as error:
        raise RunsError(f"{folder / 'history.csv'}: not a readable history ({error})") from error
    if not len(frame) or "seconds" not in frame:
        raise RunsError(f"{folder / 'history.csv'}: has no row with seconds, expected the history of a run")
    return {str(name): value for name, value in frame.iloc[-1].items()}


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text())["settings"]
    except (OSError, ValueError, KeyError) as error:
        raise RunsError(f"{folder / 'config.json'}: not the settings of a run ({error})") from error
