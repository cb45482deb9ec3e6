"""Tables that are not in the paper: solvers, readable encoders, harder benches, and SynthSAEBench."""

from typing import TYPE_CHECKING

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metric_names import Baseline, FeatureSet, Similarity, baseline_name, mip_name, recovery_name
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.products.bench_table import BenchTable
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable


class Solvers(BenchTable):
    """Runs of the table of solvers (docs/solvers.md); null for none."""

    keys = ("solvers",)
    title = "Solvers on benches and activations"

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        # true features are optional here: recovery stays empty without them
        return list(study.all_sources()), "a source"

    def inputs(self, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def rows(self, files: Files) -> "pd.DataFrame":
        from sdlstudy.rendering.solvers_table import bench_facts, solvers_table

        cells = self.cells(files.study)
        facts = bench_facts(files.study, [cell.source for cell in cells])
        return solvers_table([files.metrics(cell) for cell in cells], facts)

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.solvers_table import solvers_text

        return solvers_text(rows)


class Encoders(BenchTable):
    """Runs of the table that compares encoders whose rows resemble features (docs/solvers.md); null for none."""

    keys = ("encoders",)
    title = "Encoders that can be read"
    columns = {
        recovery_name("encoder"): "recovery: encoder rows",
        recovery_name("encoder", Similarity.PATTERN): "patterns of rows",
        recovery_name("decoder"): "decoder",
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
        recovery_name("decoder"): "recovery: decoder",
        recovery_name("decoder", features=FeatureSet.RAREST): "of the rarest quarter",
        recovery_name("encoder"): "encoder",
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


class SynthSAEBench(BenchTable):
    """Runs of the table of SynthSAEBench's distribution (docs/benches.md); null for none."""

    keys = ("synthsaebench",)
    title = "Methods on SynthSAEBench's distribution"
    columns = {
        "detection_f1": "F1",
        "mcc": "MCC",
        recovery_name("decoder"): "recovery: decoder",
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

    def inputs(self, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def rows(self, files: Files) -> "pd.DataFrame":
        from sdlstudy.rendering.bench_tables import costs

        return super().rows(files).join(costs(files.run(cell) for cell in self.cells(files.study)))

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.bench_tables import interval_text

        return interval_text(self.columns, self.caption, rows)
