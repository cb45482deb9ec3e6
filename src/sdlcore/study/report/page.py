"""Write the report, one self-contained page of everything that a configuration made."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sdlcore.storage.files import provenance
from sdlcore.study.configuration.whole import SETTINGS_TABLE, Configuration
from sdlcore.study.products.bench_figure import BenchFigure
from sdlcore.study.products.captions import table_numbers
from sdlcore.study.products.convergence import Convergence
from sdlcore.study.products.features import Features
from sdlcore.study.products.figure6 import Figure6
from sdlcore.study.products.figure8 import Figure8
from sdlcore.study.products.overview import Overview
from sdlcore.study.products.product import Product
from sdlcore.study.products.run_table import OWN, RunTable
from sdlcore.study.products.settings_table import SettingsTable
from sdlcore.study.products.tables import WITH_FEATURES
from sdlcore.study.products.top_images import TopImages
from sdlcore.study.products.verdicts import Verdicts
from sdlcore.study.rendering.convergence import convergence_sentence
from sdlcore.study.rendering.figures import base64_of
from sdlcore.study.rendering.markup import Readable, label_anchoring, label_method, number, readable
from sdlcore.study.rendering.sentences import figure6_sentences, top_images_lead, top_images_sentence
from sdlcore.study.rendering.settings_table import setting_text
from sdlcore.study.rendering.text_table import TextTable
from sdlcore.study.report.credits import licences, versions
from sdlcore.study.report.effects import EffectTable, effect_table
from sdlcore.study.report.findings import leads, opening, table_sentences
from sdlcore.study.report.judged import judged, stored
from sdlcore.study.report.words import Glossary
from sdlcore.study.settings.files import Files
from sdlcore.templates import templates

TABLE_TITLES = {
    "table1": "Table 1: recovery of ground-truth features",
    "table2": "Table 2: directions of classes in CLIP embeddings",
    "table4": "Table 4: recovery under varying superposition",
    "table5": "Table 5: recovery under varying interference",
    "table6": "Table 6: recovery under varying sparsity",
    "table7": "Table 7: recovery under varying k of TopK",
}


SPECIAL = (RunTable, SettingsTable, Overview, Features, Verdicts, BenchFigure, Convergence, Figure6, Figure8, TopImages)
"""Products whose sections the page words itself; any other has its title, its picture and its table."""


class Section(NamedTuple):
    """A figure of the page."""

    name: str
    title: str
    image: str
    """PNG, in base 64."""
    settings: Product
    leads: Sequence[str] = ()
    """One or two sentences below the picture."""
    sentences: Sequence[str] = ()
    """All numbers, which are folded."""
    rows: Sequence[Sequence[str]] = ()


class OtherSection(NamedTuple):
    """A table or figure that the page has no words of its own for."""

    name: str
    title: str
    image: str | None
    table: TextTable | None


class SettingsSection(NamedTuple):
    """Table 3."""

    name: str
    rows: list[tuple[str, str, str, str]]
    sentences: list[str]
    caption: str


class First(NamedTuple):
    """The runs of a table that are shown feature by feature."""

    seed: int
    protocol: str


class TableSection(NamedTuple):
    """A table of runs."""

    name: str
    title: str
    content: Readable
    groups: list[tuple[str, int]]
    """Heads over neighbouring columns, and how many these are."""
    starts: set[int]
    caption: str
    sentences: list[str]
    first: First
    effects: EffectTable | None
    sweep: str | None
    features: str | None


def report_files(config: Configuration, files: Files) -> dict[str, str]:
    """Return the files that the page takes from products, by the names that `report` has for them."""
    found = {}
    for name, product in config.products().items():
        if product.alone:
            continue
        outputs = [Path(path) for path in product.outputs(name, files)]
        pictured = any(path.suffix == ".png" for path in outputs) and not isinstance(product, RunTable)
        for path in outputs:
            if path.suffix == ".csv" and not path.stem.endswith("_runs"):
                found[f"{path.stem}_summary" if pictured else path.stem] = str(path)
            elif path.suffix == ".png":
                found[f"{path.stem}_sweep" if isinstance(product, RunTable) else path.stem] = str(path)
    return found


def report(config: Configuration, frames: Mapping[str, pd.DataFrame], images: Mapping[str, bytes]) -> str:
    """Return the report as HTML that asks nothing of the network.

    Parameters
    ----------
    config
        The whole validated configuration.
    frames
        By name: ``tableN`` and ``tableN_effects`` as `sweeps.table_over` and `sweeps.effects_over` return them,
        ``table3`` as `settings_table.settings_table` does, ``figure4_summary`` as `figure4.figure4_rows` does,
        ``figure5_summary`` as `absorption.absorption` does for each method and seed, ``figure6_summary`` as
        `figure6.figure6_summary` does, ``convergence_summary`` as `convergence.course` does, ``figure9_summary`` and
        ``figure10_summary`` as their product writes them, those of other products by their names; ``verdicts`` and
        ``claims`` as the rules of `sdlcore.study.verdicts` do, and ``published_verdicts``, ``published_claims`` and
        ``published_table1``, those of runs that are kept; ``published_nearest_protocol`` as
        `sdlcore.study.results.tables.read_paper` returns it.
    images
        PNG images by name of the figure, ``figure4`` and so on, ``tableN_sweep`` where a table has one, and
        ``overview`` and ``features`` of Table 1's dictionaries.

    What is not given has no section.
    """
    environment = templates("sdlcore.study.report")
    environment.filters |= {"method": label_method, "anchoring": label_anchoring}
    products, said = config.products(), leads(frames)
    encoded = {name: base64_of(image) for name, image in images.items()}
    tables = [
        (name, table)
        for name, table in sorted(config.tables.items(), key=lambda item: _place(item[0]))
        if name in frames and isinstance(table, RunTable)
    ]
    return environment.get_template("page.html.j2").render(
        config=config,
        configuration=json.dumps(config.model_dump(), indent=2, ensure_ascii=False),
        overview=encoded.get("overview"),
        glossary=Glossary(),
        protocols=list(dict.fromkeys(cell.protocol for cell in config.cells())),
        opening=opening(*_worded_by(config, *tables[0], frames)) if tables else [],
        scale=_scale(config),
        tables=[_table(config, name, table, frames, encoded) for name, table in tables],
        settings_table=_settings_table(config, frames),
        bench_figures=[
            _bench_figure(config, name, product, frames, encoded[name], said)
            for name, product in products.items()
            if isinstance(product, BenchFigure) and name in images
        ],
        figure6=_worded("figure6", products, encoded, frames, said, figure6_sentences, _summary_rows),
        convergence=_worded("convergence", products, encoded, frames, said, lambda rows: [convergence_sentence(rows)]),
        figure8=_figure8(config, encoded),
        top_images=[
            _top_images(name, product, frames.get(f"{name}_summary"), encoded[name])
            for name, product in products.items()
            if isinstance(product, TopImages) and name in images
        ],
        others=[
            _other(name, product, frames, encoded.get(name))
            for name, product in products.items()
            if not isinstance(product, SPECIAL) and (name in frames or name in images)
        ],
        judged=judged(frames["verdicts"], frames["claims"], here=True) if "verdicts" in frames else None,
        # a run that has nothing of the paper's is not its reproduction
        stored=stored(frames) if {"verdicts", "published_verdicts"} <= frames.keys() else None,
        licences=licences(config, images),
        provenance=json.dumps(provenance(__file__, rendered_with=versions()), indent=2),
    )


def _worded_by(
    config: Configuration, name: str, table: RunTable, frames: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame | None, list[str], bool]:
    """Return what sentences on a table are made from, as `opening` takes it."""
    return frames[name], frames.get(f"{name}_effects"), table.nulls, config.source(table.source).is_labelled


def _place(table: str) -> tuple[bool, str]:
    """Order the paper's tables before those of sources of one's own."""
    return table.startswith(OWN), table


def _settings_table(config: Configuration, frames: Mapping[str, pd.DataFrame]) -> SettingsSection | None:
    table, rows = config.tables.get(SETTINGS_TABLE), frames.get(SETTINGS_TABLE)
    if rows is None or not isinstance(table, SettingsTable):
        return None
    texts = [
        (str(parameter), str(sign), setting_text(paper), setting_text(ours))
        for parameter, sign, paper, ours in rows.to_numpy().tolist()
    ]
    same = sum(paper == ours for _, _, paper, ours in texts)
    sentences = [f"{same} of {len(texts)} settings of the bench have the paper’s value."]
    return SettingsSection(SETTINGS_TABLE, texts, sentences, table.caption(config))


def _bench_figure(
    config: Configuration,
    name: str,
    product: BenchFigure,
    frames: Mapping[str, pd.DataFrame],
    image: str,
    said: Mapping[str, list[str]],
) -> Section:
    rows = frames[f"{name}_summary"]
    title = f"Figure {name.removeprefix('figure')}: {product.title[0].lower()}{product.title[1:]}"
    return Section(name, title, image, product, said[name], product.sentences(rows, config))


def _worded(
    name: str,
    products: Mapping[str, Product],
    images: Mapping[str, str],
    frames: Mapping[str, pd.DataFrame],
    said: Mapping[str, list[str]],
    sentences: Callable[[pd.DataFrame], list[str]],
    rows: Callable[[pd.DataFrame], list[list[str]]] = lambda frame: [],
) -> Section | None:
    """Return the section of a figure whose numbers are put into sentences, None where there are none."""
    summary = frames.get(f"{name}_summary")
    if summary is None or name not in images:
        return None
    product = products[name]
    return Section(name, product.title, images[name], product, said[name], sentences(summary), rows(summary))


def _top_images(name: str, product: TopImages, summary: pd.DataFrame | None, image: str) -> Section:
    if summary is None:
        return Section(name, product.title, image, product)
    all_of_it = top_images_sentence(name, product.method, product.anchoring, summary)
    return Section(name, product.title, image, product, [top_images_lead(summary)], [all_of_it])


def _figure8(config: Configuration, images: Mapping[str, str]) -> Section | None:
    figure8 = config.products().get("figure8")
    if "figure8" not in images or not isinstance(figure8, Figure8):
        return None
    bench = config.sources.bench[figure8.source]
    said = [
        f"{bench.n} features in {bench.n_p} dimensions: each sample is a sparse non-negative combination of them.",
        "So samples fill the cone between the features, and lie densest on them.",
    ]
    return Section("figure8", figure8.title, images["figure8"], figure8, said)


def _other(name: str, product: Product, frames: Mapping[str, pd.DataFrame], image: str | None) -> OtherSection:
    rows = frames.get(name)
    return OtherSection(name, product.title, image, None if rows is None else product.text_table(name, rows))


def _table(
    config: Configuration,
    name: str,
    table: RunTable,
    frames: Mapping[str, pd.DataFrame],
    images: Mapping[str, str],
) -> TableSection:
    content = readable(frames[name])
    groups = [(group, len(list(columns))) for group, columns in groupby(content.columns, key=lambda c: c.group)]
    effects = frames.get(f"{name}_effects")
    return TableSection(
        name=name,
        title=TABLE_TITLES.get(name) or f"Activations of {table.source}",
        content=content,
        groups=groups,
        starts={sum(width for _, width in groups[:i]) for i in range(len(groups))},
        caption=table_numbers(table, name, config),
        sentences=table_sentences(*_worded_by(config, name, table, frames)),
        first=First(table.seeds_of(config)[0], table.protocols[0]),
        effects=effect_table(effects) if effects is not None and len(effects) else None,
        sweep=images.get(f"{name}_sweep"),
        features=images.get("features") if name == WITH_FEATURES else None,
    )


def _scale(config: Configuration) -> list[tuple[str, str]]:
    """Return name and readable settings of each source that a table or figure uses."""
    asked = [*config.tables.values(), *(product for _, product in config.figures)]
    scale = []
    for name in dict.fromkeys(product.source for product in asked if product is not None):
        source = config.source(name)
        latents = source.run.n_q
        samples = "{} training and {} held-out samples".format(*("all" if n is None else n for n in source.rows))
        scale.append((name, f"{source.described}; {samples}" + (f"; {latents} latents" if latents else "")))
    return scale


def _summary_rows(summary: pd.DataFrame) -> list[list[str]]:
    rows = []
    for _, row in summary.iterrows():
        note = "" if pd.isna(row["note"]) else row["note"]
        digits = {"final_loss": 2, "fvu": 4, "dead_fraction": 4}
        numbers = [number(row[name], places) for name, places in digits.items()]
        rows.append([f"{row['variant']}", f"{row['seed']}", *numbers, f"{row['resampled']}", f"{row['events']}", note])
    return rows
