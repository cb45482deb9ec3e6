"""Tables that are not in the paper: solvers, readable encoders, harder benches, and SynthSAEBench."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metric_names import Baseline, FeatureSet, Similarity, baseline_name, mip_name, recovery_name
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.products.bench_table import BenchTable, CostedTable
from sdlstudy.rendering.text_table import TextTable, number
from sdlstudy.results.runs import last_row, latents_of, read_metrics
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

DECODER, ENCODER = recovery_name("decoder"), recovery_name("encoder")


class Solvers(BenchTable):
    """Runs of the table of solvers (docs/solvers.md); null for none."""

    keys = ("solvers",)
    title = "Solvers on benches and activations"
    columns = {
        "seconds": "seconds",
        DECODER: "recovery: decoder",
        ENCODER: "recovery: encoder",
        "features_found": "features found",
        "fvu": METRICS["fvu"].symbol,
        "l0": METRICS["l0"].symbol,
    }
    # solvers come close to full recovery and to zero error
    finer = (DECODER, ENCODER, "fvu")
    caption = (
        "Solvers, which are given neither the number of features nor their sparsity: medians over seeds. Recovery is "
        "the share of true features, or of class means for labelled samples, whose best cosine with decoder columns or "
        f"encoder rows exceeds {TAU:g}; it is empty for other activations. Seconds depend on the machine."
    )

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        # true features are optional here: recovery stays empty without them
        return list(study.all_sources()), "a source"

    def inputs(self, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def rows(self, files: Files) -> pd.DataFrame:
        return solver_rows(self.cells(files.study), files)

    def text_table(self, rows: pd.DataFrame) -> TextTable:
        """Return medians over seeds and the smallest decoder recovery, one row for each source and method."""
        digits = {"seconds": 1, "features_found": 0} | {
            metric: METRICS[metric].digits + (metric in self.finer) for metric in self.columns if metric in METRICS
        }
        texts = []
        for (source, solver), runs in rows.groupby(["source", "solver"], sort=False):
            first = runs.iloc[0]
            bench = ["–", "–"] if pd.isna(first["n"]) else [f"{first['n']}", f"{first['activation_probability']:g}"]
            medians = [number(float(runs[name].median()), digits[name]) for name in self.columns]
            least = number(float(runs[DECODER].min()), digits[DECODER])
            texts.append([source, solver, *bench, f"{first['train_samples']}", f"{len(runs)}", *medians, least])
        heads = ["source", "solver", "n", "P(active)", "samples", "seeds", *self.columns.values()]
        return TextTable(self.caption, pd.DataFrame(texts, columns=[*heads, "recovery: decoder, least"]), 2)


def solver_rows(cells: Iterable[Cell], files: Files) -> pd.DataFrame:
    """Return features found, recovery, reconstruction and seconds, one row for each run.

    Recovery is NaN if the source has no reference directions; only benches have n and an activation probability.
    ``seconds`` come from the history: they include reading, solving or training, and the encoder, but not evaluation
    or the start of the process. ``features_found`` counts the atoms of a solver, or the latents of a trained dictionary
    that are not dead.
    """
    rows = []
    for cell in cells:
        folder, metrics = Path(files.run(cell)), read_metrics(files.metrics(cell)).metrics
        history, bench = last_row(folder), files.study.bench(cell.source)
        rows.append(
            {
                "solver": cell.method,
                "n": bench.n if bench else None,
                "activation_probability": round(1 - bench.sparsity, 12) if bench else None,
                "seed": cell.seed,
                "seconds": history["seconds"],
                DECODER: metrics.get(DECODER),
                ENCODER: metrics.get(ENCODER),
                "features_found": round(
                    history.get("atoms", latents_of(folder) * (1 - (metrics["dead_fraction"] or 0)))
                ),
                "fvu": metrics["fvu"],
                "source": cell.source,
                "train_samples": files.study.source(cell.source).rows[0],
                "l0": metrics["l0"],
            }
        )
    return pd.DataFrame(rows).astype({"n": "Int64", DECODER: float, ENCODER: float})


class Encoders(BenchTable):
    """Runs of the table that compares encoders whose rows resemble features (docs/solvers.md); null for none."""

    keys = ("encoders",)
    title = "Encoders that can be read"
    columns = {
        ENCODER: "recovery: encoder rows",
        recovery_name("encoder", Similarity.PATTERN): "patterns of rows",
        DECODER: "decoder",
        mip_name("encoder"): "MIP: encoder rows",
        mip_name("encoder", Similarity.PATTERN): "patterns of rows",
        mip_name("decoder"): "decoder",
        **{name: METRICS[name].symbol for name in ("fvu", "l0")},
    }
    caption = (
        "How well encoder rows show the features, and the reconstruction: means over seeds. Recovery is the share of "
        f"true features whose best cosine exceeds {TAU:g}: with encoder rows, with the patterns of encoder rows (the "
        "covariance of the inputs times the row), or with decoder columns. MIP is the mean best cosine."
    )
    finer = ("fvu",)


class Harder(BenchTable):
    """Runs of the table of benches that are harder than the paper's (docs/benches.md); null for none."""

    keys = ("harder",)
    title = "Methods on benches that are harder than the paper's"
    columns = {
        DECODER: "recovery: decoder",
        recovery_name("decoder", features=FeatureSet.RAREST): "of the rarest quarter",
        ENCODER: "encoder",
        mip_name("decoder"): "MIP: decoder",
        "fvu": METRICS["fvu"].symbol,
        baseline_name(Baseline.ORACLE, "fvu"): f"{METRICS['fvu'].symbol} of the true features",
        **{name: METRICS[name].symbol for name in ("l0", "splitting", "shrinkage", "absorption")},
    }
    caption = (
        "Benches that are harder than the paper's: means over seeds. Recovery is the share of true features whose "
        f"best cosine with decoder columns or encoder rows exceeds {TAU:g}. For features that decoder columns match, "
        "splitting is the number of latents per feature (1: not split), and shrinkage is the share of the coefficient "
        f"that is lost (0: none). Absorption is the {METRICS['absorption'].caption}, for benches with a hierarchy and "
        "dictionaries with as many latents as features."
    )


class SynthSAEBench(CostedTable):
    """Runs of the table of SynthSAEBench's distribution (docs/benches.md); null for none."""

    keys = ("synthsaebench",)
    title = "Methods on SynthSAEBench's distribution"
    columns = {
        "detection_f1": "F1",
        "mcc": "MCC",
        DECODER: "recovery: decoder",
        mip_name("decoder"): "MIP: decoder",
        **{f"detection_{name}": METRICS[f"detection_{name}"].symbol for name in ("precision", "recall")},
        **{name: METRICS[name].symbol for name in ("uniqueness", "l0", "fvu")},
    }
    caption = (
        "SynthSAEBench's distribution: means over seeds ± half the width of their 95 % t intervals. F1, precision and "
        "recall are means over latents, each as a detector of the feature nearest to its decoder column. MCC is the "
        "mean |cosine| of the best one-to-one assignment of latents to features, over as many pairs as possible. "
        f"Recovery is the share of all true features whose best cosine with decoder columns exceeds {TAU:g}; a "
        "dictionary with fewer latents than features cannot recover all. Seconds are wall-clock times on one machine, "
        "where other jobs may have run at the same time."
    )
