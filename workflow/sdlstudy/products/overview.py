"""The figure of Table 1: recovery in the paper, the nearest protocol, our runs, a null baseline, and chance."""

from sdlstudy.products.product import Picture
from sdlstudy.products.run_table import RunTable
from sdlstudy.settings.fields import Names
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study


class Overview(Picture):
    """Figure of the recovery of Table 1's dictionaries without anchors, beside the paper's numbers."""

    title = "Table 1 at a glance"
    caption = (
        "Means over seeds, without anchors; cosines above .9. The paper’s numbers and those of the nearest protocol "
        "are at the paper’s scale. The nearest protocol is the recipe of the paper’s first author at ten times his "
        "learning rate, stopped where it comes nearest to Table 1, and read in the way that brings it nearest "
        "(docs/paper.md)."
    )

    table: str
    """The table that the figure is drawn from."""
    methods: Names
    nulls: list[str] = []
    """Null baselines. Only the strongest is shown."""

    @classmethod
    def of(cls, table: RunTable, study: Study) -> "Overview | None":
        """Return the figure for a table; None if its source is not a bench, or if all of its runs have anchors."""
        if study.bench(table.source) is None or "none" not in table.anchorings:
            return None
        return cls(table=table.name, methods=table.methods, nulls=table.nulls)

    def inputs(self, files: Files) -> list[str]:
        return [files.table(self.table), files.nearest_protocol]

    def make(self, files: Files) -> None:
        from sdlstudy.rendering.overview import figure_overview, overview_rows
        from sdlstudy.results.tables import read_csv

        nearest = read_csv(files.nearest_protocol)
        rows = overview_rows(read_csv(files.table(self.table)), nearest, self.methods, self.nulls)
        self.write(files, figure_overview(rows), rows)
