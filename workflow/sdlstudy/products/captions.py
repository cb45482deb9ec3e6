"""Write the captions of tables: their runs and settings, and the paper's settings."""

from collections.abc import Iterable
from typing import Any

from sdlcore.data.recovery_rule import TAU, TAU_STRICT
from sdlcore.evaluation.metric_names import GT_RECOVERY, MIP, SIDES
from sdlcore.evaluation.metrics import METRICS
from sdlcore.evaluation.top_samples import FEWEST_SAMPLES, TOP_SAMPLES
from sdlstudy.products.run_table import OWN, RunTable
from sdlstudy.rendering.symbols import SYMBOLS, symbol
from sdlstudy.settings.cells import Cell, run_settings
from sdlstudy.settings.study import Study

# The settings of the paper's tables: captions state them, because the tables show the paper's numbers beside ours.
PAPER_SETTINGS = {
    "table1": "n = 1000, n_p = 768, n_q = 16000, S = 0.99",
    "table2": "CLIP-ViT-B/32 embeddings of ImageNet-1K, n_p = 768, n_q = 16384, n_anchors = 30, lambda_anchor = 1",
    "table4": "n_p = 768, n_q = 16000, n_anchors = 100, lambda_anchor = 0.1",
    "table5": "n = 1000, n_p = 768, n_anchors = 100",
    "table6": "n = 1000, n_p = 768, n_anchors = 100, where the table's S is 1 - S in Assumption 2.3",
    "table7": "n = 1000, n_p = 768, n_q = 16000, n_anchors = 100",
}


def table_settings(table: RunTable, study: Study) -> dict[str, str]:
    """Return the settings of a table's runs that its numbers depend on, as text.

    The study needs only the sources, methods and protocols of the table, with the variants that it sweeps over.
    """
    points = table.points(study)
    sources = [study.source(point.source) for point in points]
    runs = [
        run_settings(study, Cell(point.source, method, protocol, "none", 0)).to_dict()
        for point in points
        for method in (point.methods[name] for name in table.methods)
        for protocol in table.protocols
    ]
    settings = {
        label: _several(getattr(source, name) for source in sources)
        for name, label in SYMBOLS.items()
        if getattr(sources[0], name, None) is not None
    }
    swept = [table.sweep.parameter] if table.sweep else []
    for name in ("n_q", *(name for name in swept if name in runs[0]), "steps", "batch_size"):
        # solvers have no settings for the number of latents and of steps
        if values := [run[name] for run in runs if name in run]:
            settings[name] = _several(values)
    for way in (study.anchorings[anchoring] for anchoring in table.anchorings if anchoring != "none"):
        for name in ("lambda_anchor", "n_anchors"):
            value = "chosen" if name not in way.of_runs and name == "lambda_anchor" else getattr(way, name)
            settings[name] = f"{settings[name]}/{value}" if name in settings else f"{value}"
    return settings


def table_caption(table: RunTable, study: Study) -> str:
    """Return the caption of a table, one paragraph: its metrics, seeds and settings.

    Parameters
    ----------
    table
        The table.
    study
        The configuration, as for `table_settings`.
    """
    spread, scale = _spread(table, study), table_scale(table, study)
    source, labelled = table.source, study.source(table.source).is_labelled
    protocols = " and ".join(table.protocols)
    beside = f"{_nulls(table)}{_imported(table, study)}"
    if table.name.startswith(OWN) and study.source(source).n_features is None and not labelled:
        return (
            f"Reconstruction of {source}, whose samples have no classes to compare directions with; "
            f"protocol {protocols}; {spread}. {_reconstruction()} {beside}{scale}"
        )
    if labelled:
        what, reference = "Directions of classes", "normalised class means (eq. 23), which are not true features,"
        noun = "classes"
        more = (
            f"{METRICS['top_classes'].symbol}: number of classes among the {TOP_SAMPLES} held-out samples that a "
            f"latent responds to most. The means are over latents that respond to {FEWEST_SAMPLES} or more samples, "
            "and over the latents that match classes not given best. "
        )
    else:
        what, reference, noun, more = (
            f"Feature recovery on {'the Linear Representation Bench' if study.bench(source) else source}",
            "ground-truth features",
            "features",
            "Oracle: a dictionary with the true features as encoder rows and decoder columns (Theorem 3.3), with each "
            "method's sigma and k. It recovers all features. Its rows also respond to features that interfere, so its "
            "FVU may be higher than a trained dictionary's. ",
        )
    # only the paper's tables have columns of inner products
    products = (
        f"Inner products: recovery by inner products with unnormalised encoder rows, as in the paper's formula, at "
        f"τ = {TAU_STRICT:g}, as in its later revision (Table 1's anchored rows: not given). "
    ) * (not table.name.startswith(OWN))
    return (
        f"{what}{_swept(table)}; protocol {protocols}; {spread}. "
        f"{_measures(reference)} "
        f"Encoder: {SIDES['encoder']}; decoder: {SIDES['decoder']}. {products}Not given: over the {noun} "
        f"that are not anchors, also for runs without anchors. {_reconstruction()} {more}{beside}Chance: the same "
        "metric for as many random directions, as a range if rows differ. Anchors only: the same metric for the "
        f"anchors alone, without training. {scale}"
    )


def table_numbers(table: RunTable, study: Study) -> str:
    """Return a short caption without the definitions of metrics: seeds, null baselines and settings.

    Parameters are the same as for `table_caption`.
    """
    spread = _spread(table, study)
    return f"{spread[0].upper()}{spread[1:]}. {_nulls(table)}{table_scale(table, study)}"


def table_scale(table: RunTable, study: Study) -> str:
    """Return the settings of a table's runs in a sentence, after the paper's if the table is in the paper."""
    ours = ", ".join(f"{setting} = {value}" for setting, value in table_settings(table, study).items())
    sentence = f"his run (configuration {study.name}, source {table.source}) is at {ours}."
    return (
        f"T{sentence}"
        if table.name.startswith(OWN)
        else f"The paper's numbers are at {PAPER_SETTINGS[table.name]}; t{sentence}"
    )


def _spread(table: RunTable, study: Study) -> str:
    seeds = table.seeds_of(study)
    if len(seeds) == 1:
        return f"one seed ({seeds[0]}), so no spread"
    return f"mean ± standard deviation (ddof = 1) over {len(seeds)} seeds ({', '.join(map(str, seeds))})"


def _measures(features: str) -> str:
    """Return a sentence that defines recovery and MIP."""
    definitions = (f"{measure.symbol}: {measure.caption}" for measure in (GT_RECOVERY, MIP))
    return "; ".join(definitions).format(features=features, similarity="cosine", tau=TAU) + "."


def _reconstruction() -> str:
    """Return a sentence that names the metrics of every run: L0, FVU and dead fraction."""
    l0, *further_metrics = (METRICS[name] for name in ("l0", "fvu", "dead_fraction"))
    named = " and ".join(f"{metric.symbol} ({metric.caption})" for metric in further_metrics)
    return f"{l0.symbol}, {named} are measured on samples that training did not see."


def _nulls(table: RunTable) -> str:
    """Return a sentence on the table's null baselines; empty without null baselines."""
    if not table.nulls:
        return ""
    from sdlstudy.rendering.labels import label_method

    names = "; ".join(map(label_method, table.nulls))
    under = f", under the protocol {' and '.join(table.null_protocols)} only" if table.null_protocols else ""
    return (
        f"Null baselines ({names}) run without anchors{under}. They are for comparison: frozen weights keep their "
        "random start. "
    )


def _imported(table: RunTable, study: Study) -> str:
    """Return a sentence that lists imported dictionaries; empty without imported dictionaries."""
    from sdlstudy.rendering.labels import label_method

    methods = {name: study.methods[name] for name in table.all_methods}
    files = {label_method(name): method.model for name, method in methods.items() if method.is_imported}
    if not files:
        return ""
    named = "; ".join(f"{label} ({file})" for label, file in files.items())
    return f"Imported dictionaries: {named}; config.json of each run records the checksums of the files. "


def _swept(table: RunTable) -> str:
    """Return the swept parameter with its values and the paper's, in words; empty if the table sweeps nothing."""
    sweep = table.sweep
    if sweep is None:
        return ""
    values, papers = ([f"{value:g}" for value in part] for part in (sweep.values, sweep.paper or sweep.values))
    text = f" over {symbol(sweep.parameter)} = {', '.join(values)}"
    meant = " (there S is 1 - S: the share of samples that activate a feature)" if sweep.parameter == "sparsity" else ""
    return text if values == papers else f"{text}, beside the paper's {', '.join(papers)}{meant}"


def _several(values: Iterable[Any]) -> str:
    return "/".join(dict.fromkeys(str(value) for value in values))
