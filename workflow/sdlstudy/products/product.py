"""The base class of tables and figures: their runs, their files, and how each is made."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar

import pandas as pd
from matplotlib.figure import Figure
from pydantic import PrivateAttr

from sdlstudy.rendering.figures import save_figure, style
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.tables import write_csv
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Settings
from sdlstudy.settings.files import METRICS, TRAINED, Files
from sdlstudy.settings.names import ANCHORING, METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study

AnyStudy = TypeVar("AnyStudy", bound=Study)


class Product(Settings):
    """A table or figure of the pipeline. The fields of a product are its settings in a configuration.

    To add a product, write a module of this package with a subclass that sets ``keys``. It names its runs (`cells`),
    returns its numbers (`rows`), and shows them (`text`, `draw`). The configuration, the workflow and the report find
    products in this package.

    Fields called source, method, protocol and anchoring, and their plurals, name entries of the configuration.
    """

    keys: ClassVar[tuple[str, ...]] = ()
    """Paths of its keys in a configuration, ``solvers`` or ``figures.figure4``; the last part is the product's name."""
    title: ClassVar[str] = ""
    """Title for `snakemake --list` and for the product's section of the report."""
    caption: ClassVar[str] = ""
    """How to read the product's table or picture."""
    parts: ClassVar[tuple[str, ...]] = ("",)
    """Ends of the names of its CSV files: empty for NAME.csv, ``runs`` for NAME_runs.csv."""
    evaluated: ClassVar[bool] = True
    """Whether the product reads metrics of its runs; if not, dictionaries or histories alone."""
    watched: ClassVar[bool] = False
    """Whether its runs write recovery into each row of their histories."""
    alone: ClassVar[bool] = False
    """Whether the product is made only if a user names it as a target, because it takes hours."""
    memory: ClassVar[int] = 1000
    """Memory of the job that makes the product, in megabytes."""
    minutes: ClassVar[int] = 5
    """Time limit of the job that makes the product."""

    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """The product's name, which its files and its rule share."""
        return self._name

    def named(self, name: str) -> Self:
        """Return the product under a name."""
        product = self.model_copy()
        product._name = name
        return product

    def describe(self) -> str:
        """Return a line that describes the product for `snakemake --list`."""
        return self.title

    # the runs that the product needs

    def cells(self, study: Study) -> list[Cell]:
        """Return the runs that the product reads."""
        return []

    def drawn(self, study: Study) -> Iterator[tuple[str, int]]:
        """Yield the sources and seeds whose samples the product needs."""
        yield from ((cell.source, cell.seed) for cell in self.cells(study))

    def anchorings_on(self, study: Study, source: str) -> set[str]:
        """Return the anchorings that runs without anchors on a source are compared with.

        Such runs are also scored on the features that the anchors do not give away.
        """
        return set()

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        """Add the variants of sources and methods that the product sweeps over to a study."""
        return study

    # checks of the product's settings; each error is a line that begins with the path of the key

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        """Return the sources that the product can show, and in words, for errors, which sources it requires."""
        return study.all_sources(), "a source"

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        """Yield errors about names. This method is called before variants are added to the study."""
        methods, protocols = (study.methods, METHOD), (study.protocols, PROTOCOL)
        names = {"source": self.accepted_sources(study), "method": methods, "null": methods}
        names |= {"protocol": protocols, "null_protocol": protocols}
        yield from _unknown(path, self, names | {"anchoring": (["none", *study.anchorings], ANCHORING)})

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        """Yield all other errors. This method is called after variants were added to the study."""
        yield from ()

    # how the product is made

    def used(self, study: Study) -> Study:
        """Return the part of the study that the product depends on: its runs, and what their variants derive from.

        Changes of other parts of the study do not remake the product.
        """
        runs = self.cells(study)
        sources = {getattr(self, "source", None), *(source for source, _ in self.drawn(study))}
        methods = {*(cell.method for cell in runs), *getattr(self, "methods", ()), *getattr(self, "nulls", ())}
        protocols = {
            name: protocol.model_copy(update={"methods": _chosen(protocol.methods, methods)})
            for name, protocol in _chosen(study.protocols, {cell.protocol for cell in runs}).items()
        }
        parts = {
            "sources": study.sources.model_copy(
                update={kind: _chosen(group, sources) for kind, group in study.sources}
            ),
            "methods": _chosen(study.methods, methods),
            "protocols": protocols,
            "anchorings": _chosen(study.anchorings, {cell.anchoring for cell in runs}),
        }
        return study.model_copy(update=parts)

    def depends_on(self, study: Study) -> dict[str, Any]:
        """Return the settings of the study that the product depends on, for the job that makes it."""
        shared = {"name", "seeds", "sources", "methods", "protocols", "anchorings"}
        return self.used(study).model_dump(include=shared)

    def inputs(self, files: Files) -> list[str]:
        """Return the files that the product is made from."""
        return [files.metrics(cell) for cell in self.cells(files.study)]

    def outputs(self, files: Files) -> list[str]:
        """Return the files that `make` writes."""
        paths = [files.table(self.part(part)) for part in self.parts]
        if type(self).text is not Product.text:
            paths += [files.table(self.name, ending) for ending in ("md", "tex")]
        return paths + ([files.figure(self.name, end) for end in ("png", "pdf")] if self.is_drawn(files.study) else [])

    def is_drawn(self, study: Study) -> bool:
        """Return whether the product has a picture, PNG and PDF."""
        return type(self).draw is not Product.draw

    def part(self, part: str) -> str:
        """Return the name of a CSV file of the product."""
        return f"{self.name}_{part}" if part else self.name

    def beside(self, files: Files) -> list[str]:
        """Return files of the product's runs that are targets too, so that Snakemake replaces deleted ones."""
        names = (*TRAINED, METRICS) if self.evaluated else TRAINED
        return list(dict.fromkeys(f"{files.run(cell)}/{name}" for cell in self.cells(files.study) for name in names))

    def rows(self, files: Files) -> pd.DataFrame:
        """Return the numbers of the product, as NAME.csv has them."""
        raise NotImplementedError

    def frames(self, files: Files) -> dict[str, pd.DataFrame]:
        """Return the content of each CSV file, by the end of its name (`parts`)."""
        return {"": self.rows(files)}

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable | None:
        """Format the CSV files (`frames`) as a table for readers. A product may be only a picture."""
        return None

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw the rows of NAME.csv; ``files`` locates further data. A product may be only a table."""
        raise NotImplementedError

    def make(self, files: Files) -> None:
        """Write the files of `outputs`."""
        frames = self.frames(files)
        for part, frame in frames.items():
            write_csv(files.table(self.part(part)), frame)
            logging.info("%s: %d rows", self.part(part), len(frame))
        rows = frames.get("", pd.DataFrame())
        text = self.text(frames, files.study)
        if text is not None:
            text.write(files.table(self.name, "md"), files.table(self.name, "tex"))
        if self.is_drawn(files.study):
            with style():
                save_figure(self.draw(rows, files), files.figure(self.name), files.figure(self.name, "pdf"))


def _unknown(path: str, settings: Settings, names: Mapping[str, tuple[Iterable[str], str]]) -> Iterator[str]:
    """Yield the unknown names in settings; ``names``: singular of a field -> known names, and their description."""
    for field, value in settings:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if isinstance(inner, Settings):
                    yield from _unknown(f"{path}.{field}.{key}", inner, names)
        elif value is not None and (singular := field.removesuffix("s")) in names:
            yield from unknown(f"{path}.{field}", [value] if isinstance(value, str) else value, *names[singular])


def _chosen(group: Mapping[str, Any], names: Collection[str | None]) -> dict[str, Any]:
    """Return the entries of some names."""
    return {name: settings for name, settings in group.items() if name in names}
