"""The table of SynthSAEBench's distribution: methods by its own scores, with intervals over seeds."""

from typing import TYPE_CHECKING

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metrics import METRICS, mip_name, recovery_name
from sdlcore.study.products.bench_table import BenchTable
from sdlcore.study.settings.files import Files

if TYPE_CHECKING:
    import pandas as pd

    from sdlcore.study.rendering.text_table import TextTable


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
        "recall are means over latents as detectors of the features that their decoder columns are nearest to; MCC is "
        "the mean |cosine| of the best one-to-one assignment, over as many pairs as there are; recovery is the share "
        f"of all true features within a cosine of {TAU:g} of some decoder column, which narrow dictionaries cannot all "
        "have. Seconds are by the clock of the machine that ran it, with whatever ran beside."
    )

    def inputs(self, name: str, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def rows(self, name: str, files: Files) -> "pd.DataFrame":
        from sdlcore.study.rendering.bench_tables import bench_table
        from sdlcore.study.rendering.interval_tables import costs
        from sdlcore.study.results.runs import read_runs

        cells = self.cells(files.study)
        runs = bench_table(self.columns, read_runs([files.metrics(cell) for cell in cells]))
        return runs.join(costs([files.run(cell) for cell in cells]))

    def text_table(self, name: str, rows: "pd.DataFrame") -> "TextTable":
        from sdlcore.study.rendering.interval_tables import interval_text

        return interval_text(self.columns, self.caption, rows)
