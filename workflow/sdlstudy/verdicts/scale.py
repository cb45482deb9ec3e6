"""The paper's settings, and how the settings of a run differ from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sdlcore.settings import Json
from sdlstudy.rendering.symbols import symbol
from sdlstudy.settings.cells import Cell, trained_settings
from sdlstudy.settings.sources import Clip, Hierarchy
from sdlstudy.settings.study import Study

SWEPT = {
    "table1": "",
    "table2": "",
    "table4": "n",
    "table5": "max_interference",
    "table6": "sparsity",
    "table7": "k",
}
"""Table with numbers to judge -> the parameter that it varies."""

BENCH_DEFAULTS = {"n": 1000.0, "max_interference": 0.1, "sparsity": 0.99}
"""Settings of the bench in Table 3; each table varies one setting."""
DEFAULTS = BENCH_DEFAULTS | {"k": 64.0}
"""`BENCH_DEFAULTS` with k, which no version states for Table 1; the L0 of its BatchTopK, 65.0, suggests 64."""

BENCH = {"n_p": 768, "n_r": 768, "train_samples": 100_000}
"""Further settings of the bench in Table 3 and the caption of Table 1."""
OPTIONS = ("frequency_exponent", "correlation", "noise", "hierarchy", "seed_leak")
"""Options of our benches that the paper's bench lacks (docs/benches.md); false, 0 and null switch them off."""
LATENTS = {"bench": 16_000, "clip": 16_384}
LAMBDA_ANCHOR = {"bench": 0.1, "clip": 1.0}
IMAGES = 1_281_167
"""All training images of ImageNet-1K."""
LANGUAGE = {"model": "meta-llama/Llama-3.1-8B-Instruct", "layer": 12, "site": "residual", "layers": None}
LANGUAGE_RUN = {"n_q": 131_072, "steps": 30_000, "batch_size": 4096}
RESAMPLE_EVERY = 5000

SIDES = ("without", "with")
"""The two sides of Figure 6."""


def papers_value(parameter: str, printed: float) -> float:
    """Convert a printed value to our terms. Table 6's S is 1 - S: its row .01 repeats Table 1, which has S = .99."""
    # rounding removes the floating-point error of the subtraction
    return round(1 - printed, 9) if parameter == "sparsity" else printed


class Resampling(NamedTuple):
    """The runs that Figure 6 compares."""

    source: str
    methods: Mapping[str, str]
    """The method of each of `SIDES`."""
    protocol: str


def differences(
    study: Study,
    table: str,
    run: Cell,
    settings: Mapping[str, Json],
    swept: Mapping[str, float],
    n_anchors: int | None,
    k: int | None,
) -> list[str]:
    """Return how a run's settings differ from a row of the paper; empty for a run at the paper's scale.

    Parameters
    ----------
    study
        The configuration of the run.
    table
        The paper's table.
    run
        The run, with any seed.
    settings
        The run's settings, as ``run_settings(...).to_dict()`` returns them.
    swept
        The row's values of the parameter that its table varies. They override `BENCH_DEFAULTS`.
    n_anchors, k
        The values that a reading assumes for the row, None if it assumes none.

    Returns
    -------
    list of str
        Differences such as ``n is 128, the paper's 1000``. The length of training, Matryoshka's smaller k's and Table
        2's k are not compared, because the paper does not state them.
    """
    source, expected = study.source(run.source), "clip" if table == "table2" else "bench"
    kind = source.kind
    if kind != expected:
        return [f"{run.source} is a source of kind {kind}, the paper's is {expected}"]
    papers_settings: dict[str, float | None] = {"n_q": LATENTS[kind]}
    if kind == "bench":
        papers_settings |= {**BENCH, **BENCH_DEFAULTS, **({} if k is None else {"k": k}), **swept}
        if settings["pair"] == "sae":
            del papers_settings["n_r"]
    our_settings = {**dict(source), **{name: settings[name] for name in ("n_q", "k")}}
    anchoring = study.anchorings.get(run.anchoring)
    if anchoring is not None:
        papers_settings |= {"n_anchors": n_anchors, "lambda_anchor": LAMBDA_ANCHOR[kind]}
        our_settings |= dict(anchoring)
    reasons = [
        _difference(name, our_settings[name], value)
        for name, value in papers_settings.items()
        if not _equal(our_settings[name], value)
    ]
    reasons += [
        f"{name} is {_written(our_settings[name])}, the paper's bench has none"
        for name in OPTIONS
        if our_settings.get(name)
    ]
    if anchoring is not None and anchoring.of_runs.keys() != {"lambda_anchor"}:
        reasons.append("anchors hold by another rule than eq. (25)")
    if anchoring is not None and anchoring.features is not None:
        reasons.append(f"anchors are drawn from {anchoring.features} alone, the paper's from all features")
    if anchoring is not None and anchoring.discover is not None:
        reasons.append("anchors are discovered, the paper's are given")
    return [*_other_images(source), *reasons] if isinstance(source, Clip) else reasons


def beside_differences(study: Study, anchorings: Sequence[str], n_anchors: int) -> list[str]:
    """Return why scores of runs without anchors do not separate features as ``n_anchors`` anchors would.

    Parameters
    ----------
    study
        The configuration of the runs.
    anchorings
        Anchorings of the same table and source. Only a single number of anchors separates given from other features in
        runs without anchors.
    n_anchors
        The number of anchors that a reading assumes for the anchored row.
    """
    if len(anchorings) != 1:
        return [f"runs without anchors are compared with {len(anchorings)} anchorings, expected one"]
    our_number = study.anchorings[anchorings[0]].n_anchors
    return [] if _equal(our_number, n_anchors) else [_difference("n_anchors", our_number, n_anchors)]


def figure6_differences(study: Study, resampling: Resampling) -> list[str]:
    """Return how the settings of Figure 6's runs differ from the paper's section 5.3; empty at the paper's scale."""
    source = study.language(resampling.source)
    if source is None:
        kind = study.source(resampling.source).kind
        return [f"{resampling.source} is a source of kind {kind}, the paper's is language"]
    our_settings = dict(source)
    reasons = [
        _difference(name, our_settings[name], value) for name, value in LANGUAGE.items() if our_settings[name] != value
    ]
    if "fineweb-edu" not in source.text.lower():
        reasons.append(f"text is {source.text}, the paper's FineWeb-Edu")
    runs = {
        side: trained_settings(
            study, Cell(resampling.source, resampling.methods[side], resampling.protocol, "none", study.seeds[0])
        )
        for side in SIDES
    }
    for name, value in LANGUAGE_RUN.items():
        settings = [run.to_dict()[name] for run in runs.values()]
        reasons += [_difference(name, our_value, value) for our_value in settings if our_value != value]
    every = runs["with"].training.resample_every
    if every != RESAMPLE_EVERY:
        reasons.append(_difference("resample_every", every, RESAMPLE_EVERY))
    return list(dict.fromkeys(reasons))


def _other_images(source: Clip) -> Iterator[str]:
    """Yield differences from Table 2's data. ImageNet is recognised by the folder's name and the number of images."""
    if "imagenet" not in source.images.lower():
        yield f"images are {source.images}, the paper's ImageNet-1K"
    if not (source.model.startswith("ViT-B-32") and source.pretrained == "openai"):
        yield f"the CLIP is {source.model} ({source.pretrained}), the paper's ViT-B/32 of OpenAI"
    if source.embedding != "pooled":
        yield f"embedding is {source.embedding}, the paper's is 768 wide, so pooled"
    rows = source.train_samples
    held_out = 0 if source.test_images else source.test_samples or 0
    if rows is not None and rows + held_out != IMAGES:
        yield _difference("train_samples", rows, IMAGES)


def _written(value: Any) -> Any:
    """Return a setting as it is written in a configuration."""
    return value.model_dump() if isinstance(value, Hierarchy) else value


def _equal(ours: Any, papers: float | None) -> bool:
    return ours is not None and papers is not None and abs(ours - papers) <= 1e-9


def _difference(name: str, ours: Any, papers: Any) -> str:
    return f"{symbol(name)} is {_short(ours)}, the paper's {_short(papers)}"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"
