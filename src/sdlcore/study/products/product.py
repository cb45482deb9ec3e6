"""The base class of tables and figures: the runs that one needs, its files, and how it is made."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, TypeVar

from sdlcore.study.settings.cells import Cell
from sdlcore.study.settings.fields import Settings
from sdlcore.study.settings.files import Files
from sdlcore.study.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from sdlcore.study.rendering.text_table import TextTable

AnyStudy = TypeVar("AnyStudy", bound=Study)


class Product(Settings):
    """A table or figure, as a configuration asks for it: its fields are the keys that stand there.

    A module of this package with a subclass that has ``keys`` is all that a new one takes: the configuration, the
    workflow and the report ask here. One that follows from others (`companions`) has no keys.
    """

    keys: ClassVar[tuple[str, ...]] = ()
    """Where it stands in a configuration, ``solvers`` or ``figures.figure4``; the last part is its name."""
    title: ClassVar[str] = ""
    """What it shows, for `snakemake --list` and as the head of its section of the report."""
    alone: ClassVar[bool] = False
    """Whether it is made only where it is asked for by its own name: it takes hours, and is no part of the whole."""
    memory: ClassVar[int] = 1000
    """Megabytes that making it takes."""
    minutes: ClassVar[int] = 5
    """Time limit of making it."""

    def describe(self, name: str) -> str:
        """Return a line on it for `snakemake --list`."""
        return self.title

    # what it asks for

    def cells(self, study: Study) -> list[Cell]:
        """Return the runs whose metrics it reads, each once."""
        return []

    def judged_here(self, study: Study) -> list[Cell]:
        """Return the runs that it judges by itself or whose histories it reads, which so need no metrics."""
        return []

    def watched(self, study: Study) -> list[Cell]:
        """Return those of its runs whose histories tell in each row what is recovered."""
        return []

    def drawn(self, study: Study) -> Iterator[tuple[str, int]]:
        """Yield the sources and seeds of the samples that it takes."""
        yield from ((cell.source, cell.seed) for cell in (*self.cells(study), *self.judged_here(study)))

    def anchorings_on(self, study: Study, source: str) -> set[str]:
        """Return the anchorings that divide the features of a source's runs without anchors."""
        return set()

    def at_most(self, study: Study) -> int:
        """Return how many runs it asks for at most, counted without a list of them."""
        return 0

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        """Return a study with the variants of sources and methods that it sweeps over."""
        return study

    def companions(self, name: str, study: Study) -> dict[str, "Product"]:
        """Return what is made beside it without being asked for."""
        return {}

    # what can be wrong with it, a line each that is led by the path of the key

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        """Yield what is wrong with its names, before variants are laid out."""
        yield from ()

    def unsound_sweep(self, path: str, study: Study) -> Iterator[str]:
        """Yield what is wrong with what it sweeps over, all names being right, before variants are laid out."""
        yield from ()

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        """Yield what else is wrong with it, variants being there."""
        yield from ()

    # how it is made

    def used(self, study: Study) -> Study:
        """Return the part of the study that it hangs on, so that other changes do not remake it."""
        runs = [*self.cells(study), *self.judged_here(study)]
        sources = {*(source for source, _ in self.drawn(study)), *(cell.source for cell in runs)}
        methods, protocols = {cell.method for cell in runs}, {cell.protocol for cell in runs}
        return partial_study(study, sources, methods, protocols, {cell.anchoring for cell in runs})

    def inputs(self, name: str, files: Files) -> list[str]:
        """Return the files that it is made from."""
        return [files.metrics(cell) for cell in self.cells(files.study)]

    def outputs(self, name: str, files: Files) -> list[str]:
        """Return the files that it is."""
        raise NotImplementedError

    def beside(self, name: str, files: Files) -> list[str]:
        """Return the files that who asks for it gets, too: those of its runs, which would not be missed otherwise."""
        runs = [file for cell in self.cells(files.study) for file in files.all_of(cell)]
        others = [file for cell in self.judged_here(files.study) for file in files.all_of(cell)[:-1]]
        return list(dict.fromkeys([*runs, *others]))

    def make(self, name: str, files: Files) -> None:
        """Write its outputs."""
        raise NotImplementedError

    def text_table(self, name: str, rows: "pd.DataFrame") -> "TextTable | None":
        """Return its table as people read it, out of the rows of its CSV file; None where a picture says it all.

        Its section of the report consists of this and of its picture, where it has one.
        """
        return None


class Picture(Product):
    """A product that is a picture, and a table of the numbers in it."""

    def outputs(self, name: str, files: Files) -> list[str]:
        return [files.figure(name), files.figure(name, "pdf"), files.table(name)]

    def write(self, name: str, files: Files, figure: "Figure", rows: "pd.DataFrame") -> None:
        """Write the picture and its table."""
        from sdlcore.study.rendering.figures import save_figure
        from sdlcore.study.results.tables import write_csv

        save_figure(figure, files.figure(name), files.figure(name, "pdf"))
        write_csv(files.table(name), rows)


def partial_study(
    study: Study, sources: set[str], methods: set[str], protocols: set[str], anchorings: set[str]
) -> Study:
    """Return a study with some of its sources, methods, protocols and anchorings alone."""
    kinds = {
        kind: {name: settings for name, settings in group.items() if name in sources} for kind, group in study.sources
    }
    ways = {
        name: way.model_copy(update={"methods": {m: own for m, own in way.methods.items() if m in methods}})
        for name, way in study.protocols.items()
        if name in protocols
    }
    return study.model_copy(
        update={
            "sources": study.sources.model_copy(update=kinds),
            "methods": {name: method for name, method in study.methods.items() if name in methods},
            "protocols": ways,
            "anchorings": {name: way for name, way in study.anchorings.items() if name in anchorings},
        }
    )
