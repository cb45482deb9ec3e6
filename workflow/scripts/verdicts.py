"""Judge the paper's numbers and claims by runs: CSV and Markdown of each."""

import argparse
import json
import logging
import sys
from pathlib import Path

from sdlcore.storage.files import atomic_path
from sdlcore.study.results.tables import read_csv, write_csv
from sdlcore.study.verdicts.claim_rule import claims
from sdlcore.study.verdicts.evidence import Evidence
from sdlcore.study.verdicts.judging import verdicts
from sdlcore.study.verdicts.markup import claims_markdown, counts_sentence, verdicts_markdown
from sdlcore.study.verdicts.paper import read_numbers


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="JSON: what says at what scale runs are")
    parser.add_argument("--paper", required=True, nargs="+", help="CSVs with the paper's numbers, named by their table")
    parser.add_argument("--runs", nargs="*", default=[], help="CSVs of the runs of tables: TABLE_runs.csv")
    parser.add_argument("--figure6", nargs="*", default=[], help="summary of Figure 6, where there is one")
    for output in ("verdicts", "claims"):
        parser.add_argument(f"--{output}", required=True, help=f"CSV of {output} to write")
        parser.add_argument(f"--{output}-markdown", required=True, help="the same as Markdown")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")

    numbers = read_numbers({Path(path).stem: path for path in arguments.paper})
    evidence = Evidence(
        arguments.config,
        {Path(path).stem.removesuffix("_runs"): read_csv(path) for path in arguments.runs},
        read_csv(arguments.figure6[0]) if arguments.figure6 else None,
    )
    judged, claimed = verdicts(numbers, evidence), claims(numbers, evidence)
    write_csv(arguments.verdicts, judged)
    write_csv(arguments.claims, claimed)
    for path, text in (
        (arguments.verdicts_markdown, verdicts_markdown(judged)),
        (arguments.claims_markdown, claims_markdown(claimed)),
    ):
        with atomic_path(path) as part:
            part.write_text(text, encoding="utf-8")
    logging.info("%s %d claims", counts_sentence(judged), len(claimed))


if __name__ == "__main__":
    main()
