"""The table of benches that are harder than the paper's: recovery, splitting, shrinkage and absorption."""

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metrics import METRICS, ORACLE, RAREST, baseline_name, mip_name, recovery_name
from sdlcore.study.products.bench_table import BenchTable


class Harder(BenchTable):
    """Runs of the table of benches that are harder than the paper's (docs/benches.md); null for none."""

    keys = ("harder",)
    title = "Methods on benches that are harder than the paper's"
    columns = {
        recovery_name("decoder"): "recovery: decoder",
        recovery_name("decoder", features=RAREST): "of the rarest quarter",
        recovery_name("encoder"): "encoder",
        mip_name("decoder"): "MIP: decoder",
        "fvu": METRICS["fvu"].symbol,
        baseline_name(ORACLE, "fvu"): f"{METRICS['fvu'].symbol} of the true features",
        **{name: METRICS[name].symbol for name in ("l0", "splitting", "shrinkage", "absorption")},
    }
    caption = (
        "Benches that are harder than the paper's: means over seeds. Recovery is the share of true features within a "
        f"cosine of {TAU:g} of some decoder column or encoder row. Of features that a decoder column matches, "
        "splitting is the number of latents of each (1: not split), shrinkage how much of the coefficient is lost (0: "
        f"nothing); absorption is the {METRICS['absorption'].caption}, where a bench has such and dictionaries as "
        "many latents as features."
    )
