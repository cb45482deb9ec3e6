"""The captions of tables of runs."""

from sdlcore.evaluation.top_samples import FEWEST_SAMPLES, TOP_SAMPLES
from sdlstudy.products.run_table import OWN, RunTable
from sdlstudy.settings.study import Study

PAPER_TEXT = (
    "Beside each number of the paper stands ours by the paper's rule: inner products with encoder rows, above .95 for "
    "recovery; Table 1's anchored rows count the features that are not anchors. In brackets: the 95 % prediction "
    "interval for one more run, or the tolerance where that is wider (2 points of recovery, .02 of MIP, 5 % of L0). "
    "Inside: whether the interval contains the paper's number; a dash for runs at another scale."
)
BENCH_TEXT = (
    "GT recovery: share of true features whose best match exceeds a cosine of .9. MIP: mean best match. Encoder and "
    "decoder: by cosines with encoder rows and decoder columns. Not given: without the features that are anchors, also "
    "for runs without anchors. L0, FVU and dead fraction are measured on held-out samples. Chance: as many random "
    "directions. Anchors only: the anchors without training. Oracle: the true features as rows and columns, with each "
    "method's activation; its rows also respond to features that interfere."
)
CLASS_TEXT = (
    "GT recovery: share of class means whose best match exceeds a cosine of .9. MIP: mean best match. Class means are "
    "no true features. Not given: without the classes that are anchors. Top classes: number of classes among the "
    f"{TOP_SAMPLES} held-out samples that a latent responds to most, over latents that respond to {FEWEST_SAMPLES} or "
    "more. Chance: as many random directions. Anchors only: the anchors without training."
)
PLAIN_TEXT = (
    "L0, FVU and dead fraction are measured on held-out samples, which have no classes to compare directions with."
)


def table_caption(table: RunTable, study: Study) -> str:
    """Return the caption of a table, one paragraph.

    Parameters
    ----------
    table
        The table.
    study
        The configuration, or the part of it that the table depends on.
    """
    source, seeds = study.source(table.source), table.seeds_of(study)
    what = CLASS_TEXT if source.is_labelled else PLAIN_TEXT if source.n_features is None else BENCH_TEXT
    spread = "mean ± standard deviation over seeds" if len(seeds) > 1 else "seed"
    run = f"Configuration {study.name}, source {table.source}; {spread} {', '.join(map(str, seeds))}."
    nulls = ["Null baselines run without anchors; frozen weights keep their random start."] if table.nulls else []
    return " ".join([run, *([] if table.name.startswith(OWN) else [PAPER_TEXT]), what, *nulls])
