"""Judge the paper's numbers and claims by runs: CSV and Markdown of each."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlcore.study.results.tables import read_csv, write_csv
from sdlcore.study.verdicts import claim_rule, judging, markup
from sdlcore.study.verdicts.evidence import Evidence
from sdlcore.study.verdicts.paper import read_numbers


def main(
    *,
    config: dict[str, Any],
    paper: list[Path],
    runs: list[Path],
    figure6: Path | None,
    verdicts: Path,
    claims: Path,
    verdicts_markdown: Path,
    claims_markdown: Path,
) -> None:
    """
    Args:
        config: what says at what scale runs are
        paper: CSVs with the paper's numbers, named by their table
        runs: CSVs of the runs of tables: TABLE_runs.csv
        figure6: summary of Figure 6, where there is one
        verdicts: CSV file to write
        claims: CSV file to write
    """
    numbers = read_numbers({path.stem: path for path in paper})
    tables = {path.stem.removesuffix("_runs"): read_csv(path) for path in runs}
    evidence = Evidence(config, tables, read_csv(figure6) if figure6 else None)
    judged, claimed = judging.verdicts(numbers, evidence), claim_rule.claims(numbers, evidence)
    write_csv(verdicts, judged)
    write_csv(claims, claimed)
    write_text(verdicts_markdown, markup.verdicts_markdown(judged))
    write_text(claims_markdown, markup.claims_markdown(claimed))
    logging.info("%s %d claims", markup.counts_sentence(judged), len(claimed))


if __name__ == "__main__":
    cli(main)
