"""Summarise runs of solvers: features found, recovery, reconstruction and seconds."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metric_names import recovery_name
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.rendering.markup import number
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.runs import RunsError, read_metrics
from sdlstudy.settings.study import Study

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
    # one more decimal than in other tables, because solvers come close to full recovery and to zero error
    DECODER: ("recovery: decoder", METRICS[DECODER].digits + 1),
    ENCODER: ("recovery: encoder", METRICS[ENCODER].digits + 1),
    "features_found": ("features found", 0),
    "fvu": (METRICS["fvu"].symbol, METRICS["fvu"].digits + 1),
    "l0": (METRICS["l0"].symbol, METRICS["l0"].digits),
}


class BenchFacts(NamedTuple):
    """Facts on a source that the table states. Only benches have n and sparsity."""

    n: int | None
    sparsity: float | None
    train_samples: int | None


def bench_facts(study: Study, sources: Iterable[str]) -> dict[str, BenchFacts]:
    """Return the facts on sources that the table states."""
    facts = {}
    for source in dict.fromkeys(sources):
        bench, rows = study.bench(source), study.source(source).rows[0]
        facts[source] = BenchFacts(bench.n, bench.sparsity, rows) if bench else BenchFacts(None, None, rows)
    return facts


def solvers_table(metrics: Iterable[str | Path], benches: Mapping[str, BenchFacts]) -> pd.DataFrame:
    """Return the numbers of each run, with one row for each run.

    Parameters
    ----------
    metrics
        ``metrics.json`` of each run, with ``history.csv`` and ``config.json`` beside it.
    benches
        Source -> its facts, as `bench_facts` returns them.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`. Recovery is NaN if the source has no reference directions. ``seconds`` come from the
        history: they include reading, solving or training, and the encoder, but not evaluation or the start of the
        process. ``features_found`` counts the atoms of a solver, or the latents of a trained dictionary that are not
        dead.

    Raises
    ------
    RunsError
        If a file is unreadable.
    """
    rows = []
    for path in metrics:
        run_metrics = read_metrics(path)
        run, values = run_metrics.cell, run_metrics.metrics
        history = last_row(Path(path).parent)
        bench = benches[run.source]
        latents = latents_of(Path(path).parent)
        atoms = history.get("atoms", latents * (1 - (values["dead_fraction"] or 0)))
        row = {"solver": run.method, "source": run.source, "seed": run.seed, "seconds": history["seconds"]}
        if bench.sparsity is not None:
            row |= {"n": bench.n, "activation_probability": round(1 - bench.sparsity, 12)}
        row |= {"train_samples": bench.train_samples, "features_found": round(atoms)}
        recovery = {name: values.get(name) for name in (DECODER, ENCODER)}
        rows.append(row | recovery | {name: values[name] for name in ("fvu", "l0")})
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"n": "Int64", DECODER: float, ENCODER: float})


def solvers_text(table: pd.DataFrame) -> TextTable:
    """Return a table of medians over seeds and the smallest decoder recovery, one row for each source and method."""
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
    caption = (
        "Solvers, which are given neither the number of features nor their sparsity: medians over seeds. Recovery is "
        "the share of true features, or of class means for labelled samples, whose best cosine with decoder columns or "
        f"encoder rows exceeds {TAU:g}; it is empty for other activations. Seconds depend on the machine."
    )
    return TextTable(caption, frame, 2)


def last_row(folder: Path) -> dict[str, float]:
    """Read the last row of a run's history.csv.

    Raises
    ------
    RunsError
        If the file is unreadable, empty, or without the column seconds.
    """
    try:
        frame = pd.read_csv(folder / "history.csv")
    except (OSError, ValueError) as error:
        raise RunsError(f"{folder / 'history.csv'}: not a readable history ({error})") from error
    if not len(frame) or "seconds" not in frame:
        raise RunsError(f"{folder / 'history.csv'}: has no row with seconds, expected the history of a run")
    return {str(name): value for name, value in frame.iloc[-1].items()}


def latents_of(folder: Path) -> int:
    """Return the number of latents of a trained run; 0 for a solver's run.

    Raises
    ------
    RunsError
        If config.json is unreadable.
    """
    try:
        return int(json.loads((folder / "config.json").read_text())["settings"].get("n_q", 0))
    except (OSError, ValueError, KeyError) as error:
        raise RunsError(f"{folder / 'config.json'}: not the settings of a run ({error})") from error
