"""Write the report: one self-contained HTML page with every table and picture of a configuration."""

import json
import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metrics import METRICS, RECOVERY
from sdlcore.extras import templates
from sdlcore.identity import provenance
from sdlstudy.configuration.whole import Configuration
from sdlstudy.products.overview import CAPTION, strongest_null
from sdlstudy.products.product import Product
from sdlstudy.products.tables import OWN, Table
from sdlstudy.rendering.labels import label_anchoring, label_method, label_value, symbol
from sdlstudy.rendering.run_text import has_values
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.verdicts import RECOVERY_NUMBER, judge

TITLES = {
    "table1": "Table 1: recovery of ground-truth features",
    "table2": "Table 2: directions of classes in CLIP embeddings",
    "table3": "Table 3: settings of the bench",
    "table4": "Table 4: recovery under varying superposition",
    "table5": "Table 5: recovery under varying interference",
    "table6": "Table 6: recovery under varying sparsity",
    "table7": "Table 7: recovery under varying k of TopK",
}
FEATURES = {"": "all", "_anchored": "given", "_unanchored": "not given"}
PROTOCOL = "paper"
"""The protocol that follows the paper's text."""
DECODER = "gt_recovery_decoder_mean"


class Picture(NamedTuple):
    """A picture for the page."""

    data: str
    """PNG, in base 64."""
    width: int
    """In pixels of the page. Figures have 200 dots per inch and the page 100, so that all letters have one size."""

    @classmethod
    def read(cls, png: bytes) -> "Picture":
        """Encode the content of a PNG file, whose header holds the width."""
        return cls(b64encode(png).decode(), int.from_bytes(png[16:20]) // 2)


class Section(NamedTuple):
    """A section of the page: a picture with its caption, and tables."""

    name: str
    title: str
    image: Picture | None = None
    caption: str = ""
    tables: Mapping[str, TextTable] = {}
    """Tables by title; the first is open."""


def report(config: Configuration, frames: Mapping[str, pd.DataFrame], images: Mapping[str, bytes]) -> str:
    """Return the report as HTML that loads nothing from the network.

    Parameters
    ----------
    config
        The whole validated configuration.
    frames
        Tables by the names of their CSV files. ``paper_table1_runs`` are the runs of Table 1 that are kept with the
        code, and ``numbers`` the paper's numbers.
    images
        PNG images by the names of their files.

    A product without a table and without a picture gets no section in the report.
    """
    encoded = {name: Picture.read(image) for name, image in images.items()}
    pictured = next((name for name, table in _run_tables(config) if table.is_overview(config)), "")
    overview = encoded.pop(pictured, None)  # at the top of the page, and not in a section
    stored = None
    if {"paper_table1_runs", "numbers", "table1_verdicts"} <= frames.keys():
        stored = judge("table1", frames["numbers"], frames["paper_table1_runs"])
    page = templates("sdlstudy.report").get_template("page.html.j2")
    return page.render(
        config=config,
        overview=overview,
        overview_caption=CAPTION,
        sentences=list(_sentences(config, frames, stored)),
        sections=list(_sections(config, frames, encoded)),
        configuration=json.dumps(config.model_dump(), indent=2, ensure_ascii=False),
        provenance=json.dumps(provenance(), indent=2),
    )


def _sentences(config: Configuration, frames: Mapping[str, pd.DataFrame], stored: pd.DataFrame | None) -> Iterator[str]:
    """Yield the sentences at the top, about the first table of runs."""
    name, table = next(((name, table) for name, table in _run_tables(config) if name in frames), ("", None))
    if table is None:
        return
    explanation = "runs at the paper's scale that are stored with the code"
    verdicts = {"this run": frames.get("table1_verdicts"), explanation: stored}
    answers = [table1_sentence(frame, where) for where, frame in verdicts.items() if frame is not None]
    yield from [answer for answer in answers if answer][:1]
    yield null_sentence(frames[name], table.nulls)
    if sentence := anchoring_sentence(frames.get(f"{name}_effects")):
        yield sentence


def _run_tables(config: Configuration) -> list[tuple[str, Table]]:
    """Return the tables of runs; the paper's tables come before tables of a user's own sources."""
    tables = [(name, table) for name, table in config.products().items() if isinstance(table, Table)]
    return sorted(tables, key=lambda item: (item[0].startswith(OWN), item[0]))


def _sections(
    config: Configuration, frames: Mapping[str, pd.DataFrame], images: Mapping[str, Picture]
) -> Iterator[Section]:
    """Yield the sections of the page: tables of runs, then all other products."""
    for name, product in (dict[str, Product](_run_tables(config)) | config.products()).items():
        parts = {part: frames[product.part(part)] for part in product.parts if product.part(part) in frames}
        if not (parts or name in images):
            continue
        text = product.text(parts, config) if parts else None
        tables = {} if text is None else {"All numbers": text}
        if len(parts.get("effects", ())):
            tables["What anchoring changes"] = effect_table(parts["effects"])
        caption = product.caption if text is None or isinstance(product, Table) else ""
        yield Section(name, _title(name, product), images.get(name), caption, tables)


def _title(name: str, product: Product) -> str:
    if name.startswith("figure"):
        return f"Figure {name.removeprefix('figure')}: {product.title[0].lower()}{product.title[1:]}"
    return TITLES.get(name) or product.title or product.describe()


def effect_table(effects: pd.DataFrame) -> TextTable:
    """Return the effect of anchoring as text: a row for each point, method, anchoring and protocol.

    ``effects`` are as `sdlstudy.results.tables.effects_over` returns them.
    """
    names: dict[str, Any] = {
        "Method": effects["method"].map(label_method),
        "Anchoring": effects["anchoring"].map(label_anchoring),
        "Protocol": effects["protocol"],
    }
    if (parameter := effects["parameter"].iloc[0]) and effects["value"].notna().all():
        points = zip(effects["value"], effects["paper_value"], strict=True)
        names = {symbol(parameter): [label_value(*point) for point in points], **names}
    intervals = effects[["difference_mean", "difference_low", "difference_high"]]
    texts = {"metric": effects["metric"].map(_metric_head), "text": [_effect(*row) for row in intervals.to_numpy()]}
    rows = pd.DataFrame(names | texts).set_index([*names, "metric"])["text"].unstack(sort=False)
    caption = (
        "Anchored minus not anchored: mean difference over seeds with its 95 % t interval, paired by seed; * where it "
        "excludes zero. There are many intervals, so some exclude zero by accident. All: with the features that "
        "anchoring gives away. Not given: without them."
    )
    return TextTable(caption, rows.reset_index(), len(names))


def _metric_head(name: str) -> str:
    """Return the heading of a metric's column: its symbol, the side, and which features."""
    symbol, parts = METRICS[name].symbol, RECOVERY.fullmatch(name)
    return symbol if parts is None else f"{symbol}, {parts['side']}: {FEATURES[parts['features']]}"


def _effect(mean: float, low: float, high: float) -> str:
    if math.isnan(low):
        return f"{mean:+.3f}"
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f}){'*' * (not low <= 0 <= high)}"


def table1_sentence(verdicts: pd.DataFrame, where: str) -> str:
    """Say whether the paper's Table 1 is reproduced; empty if no run is at the paper's scale.

    Parameters
    ----------
    verdicts
        Table 1's numbers beside ours, as `sdlstudy.results.verdicts.judge` returns them.
    where
        The runs, such as "stored runs at the paper's scale".
    """
    judged = verdicts[verdicts["protocol"].eq(PROTOCOL) & verdicts["inside"].notna()]
    recovery = judged[judged["number"].eq(RECOVERY_NUMBER) & judged["anchoring"].eq("none")]
    if recovery.empty:
        return ""
    inside = judged["inside"].astype(bool)
    answer = "is reproduced" if inside.all() else "is reproduced in part" if inside.any() else "is not reproduced"
    paper, encoder, decoder = (_span(recovery[name] / 100) for name in ("paper", "ours", "decoder"))
    return (
        f"Table 1 of the paper {answer} by {where}: by the paper's rule, encoder rows recover {encoder} of the "
        f"features (the paper: {paper}), and decoder columns recover {decoder} by cosines above {TAU:g}."
    )


def null_sentence(table: pd.DataFrame, nulls: Sequence[str]) -> str:
    """Compare the strongest null baseline with trained decoders; without nulls, compare chance.

    Parameters
    ----------
    table
        The main table, as `sdlstudy.results.tables.table_over` returns it.
    nulls
        Names of the null baselines.
    """
    trained = table[table["anchoring"].eq("none") & ~table["method"].isin(list(nulls))]
    if not has_values(trained, DECODER):
        return f"In this run, reconstructions leave {_span(table['fvu_mean'])} of the held-out variance unexplained."
    null = strongest_null(table, nulls)
    if null is None:
        level = _span(trained["chance_gt_recovery_decoder_mean"])
        decoders = _span(trained[DECODER])
        return f"In this run, random directions recover {level}, and decoders of trained methods {decoders}."
    name, recovered = label_method(null[0]), percent(null[1])
    return (
        f"In this run, the strongest null baseline ({name}), which learns little or nothing, recovers {recovered}; "
        f"decoders of trained methods recover {_span(trained[DECODER])} of the features."
    )


def anchoring_sentence(effects: pd.DataFrame | None) -> str:
    """Say how anchoring changes the decoder's recovery of features without an anchor; empty without such runs.

    ``effects`` are as `sdlstudy.results.tables.effects_over` returns them.
    """
    if effects is None:
        return ""
    metric = "gt_recovery_decoder_unanchored"
    rows = effects[effects["metric"] == metric].dropna(subset=["difference_mean"])
    if rows.empty:
        return ""
    low, high = (_points(float(value)) for value in (rows["difference_mean"].min(), rows["difference_mean"].max()))
    seeds = int(rows["seeds"].iloc[0])
    excluding = int(((rows["difference_low"] > 0) | (rows["difference_high"] < 0)).sum())
    links = (
        "too few seeds for an interval"
        if rows["difference_low"].isna().all()
        else f"{excluding or 'none'} of {len(rows)} intervals (95 %, not corrected for their number) "
        + ("excludes zero" if excluding < 2 else "exclude zero")
    )
    return (
        f"In this run, anchoring changes the decoder's recovery of features without an anchor by {low} to {high} "
        f"points ({seeds} seed{'s' * (seeds > 1)}; {links})."
    )


def _points(difference: float) -> str:
    """Return a difference of shares in points, with its sign and a decimal; 0 without a sign."""
    text = f"{100 * difference:+.1f}".removesuffix(".0")
    return "0" if float(text) == 0 else text


def percent(share: float) -> str:
    """Return a share in per cent with at most one decimal. Only exact shares are written as 0 % and 100 %."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    if 0.9995 <= share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def _span(shares: pd.Series) -> str:
    """Return the smallest and the largest share, or one number if they are equal."""
    low, high = percent(float(shares.min())), percent(float(shares.max()))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"
