"""Judge the paper's numbers and claims by the tables of this configuration."""

import logging
from pathlib import Path

from sdlcore.storage.files import write_text
from sdlstudy.products.figure6 import Figure6
from sdlstudy.products.product import Product
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study
from sdlstudy.verdicts.scale import SWEPT

FIGURE6 = "figure6"


class Verdicts(Product):
    """For each number and each claim of arXiv 2512.05534: whether this configuration's runs reproduce it.

    Numbers without a run of this configuration get the verdict that they were not run.
    """

    title = "Verdicts on the paper's numbers and claims"

    tables: list[str]
    """The paper's tables that this configuration makes."""
    figure6: Figure6 | None = None
    """Figure 6, if this configuration makes it."""

    @classmethod
    def of(cls, products: dict[str, Product]) -> "Verdicts | None":
        """Return the verdicts for a configuration's products; None if they include none of the paper's tables.

        Figure 6 alone is no reason to judge the paper, since configurations for a user's own data make it too.
        """
        figure6 = products.get(FIGURE6)
        tables = [table for table in SWEPT if table in products]
        if not tables:
            return None
        return cls(tables=tables, figure6=figure6 if isinstance(figure6, Figure6) else None)

    def used(self, study: Study) -> Study:
        return study  # the scale of runs depends on all of it

    def inputs(self, files: Files) -> list[str]:
        runs = [files.table(f"{table}_runs") for table in self.tables]
        figure6 = [files.table(FIGURE6)] if self.figure6 else []
        return [*runs, *figure6, *(files.of_paper(table) for table in SWEPT), files.claims]

    def outputs(self, files: Files) -> list[str]:
        return [files.table(part, ending) for part in ("verdicts", "claims") for ending in ("csv", "md")]

    def make(self, files: Files) -> None:
        from sdlstudy.results.tables import read_csv, write_csv
        from sdlstudy.verdicts import claim_rule, judging, markup
        from sdlstudy.verdicts.claims import read_claims
        from sdlstudy.verdicts.evidence import Evidence
        from sdlstudy.verdicts.paper import read_numbers
        from sdlstudy.verdicts.scale import Resampling

        numbers = read_numbers({table: Path(files.of_paper(table)) for table in SWEPT})
        tables = {table: read_csv(files.table(f"{table}_runs")) for table in self.tables}
        resampling, summary = None, None
        if self.figure6:
            resampling = Resampling(self.figure6.source, self.figure6.sides(), self.figure6.protocol)
            summary = read_csv(files.table(FIGURE6))
        evidence = Evidence(files.study, tables, resampling, summary)
        number_verdicts, claim_verdicts = (
            judging.verdicts(numbers, evidence),
            claim_rule.claims(numbers, evidence, read_claims(files.claims)),
        )
        write_csv(files.table("verdicts"), number_verdicts)
        write_csv(files.table("claims"), claim_verdicts)
        write_text(files.table("verdicts", "md"), markup.verdicts_markdown(number_verdicts))
        write_text(files.table("claims", "md"), markup.claims_markdown(claim_verdicts))
        logging.info("%s %d claims", markup.counts_sentence(number_verdicts), len(claim_verdicts))
