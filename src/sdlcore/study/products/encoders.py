"""The table of encoders that can be read: recovery by their rows, by the patterns of these, and by decoders."""

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metrics import METRICS, PATTERN, mip_name, recovery_name
from sdlcore.study.products.bench_table import BenchTable


class Encoders(BenchTable):
    """Runs of the table of encoders that can be read (docs/solvers.md); null for none."""

    keys = ("encoders",)
    title = "Encoders that can be read"
    columns = {
        recovery_name("encoder"): "recovery: encoder rows",
        recovery_name("encoder", PATTERN): "patterns of rows",
        recovery_name("decoder"): "decoder",
        mip_name("encoder"): "MIP: encoder rows",
        mip_name("encoder", PATTERN): "patterns of rows",
        mip_name("decoder"): "decoder",
        **{name: METRICS[name].symbol for name in ("fvu", "l0")},
    }
    caption = (
        "What encoders show of the features, and what that costs: means over seeds. Recovery is the share of true "
        f"features within a cosine of {TAU:g} of some encoder row, of the pattern of some encoder row (the covariance "
        "of inputs times the row) or of some decoder column; MIP is the mean best cosine."
    )
    finer = ("fvu",)
