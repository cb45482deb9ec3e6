"""Make the table of discovered anchors: CSV and Markdown of means and differences, and CSV of the runs."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from sdlcore.command_line import cli
from sdlcore.data.anchors import load_anchors
from sdlcore.data.references import References, load_references
from sdlcore.evaluation.given import Best, best_cosines, left_over, lie_near, recovery_of
from sdlcore.model.saving import load_model
from sdlcore.storage.files import write_text
from sdlcore.study.products.discovery_table import RUN_COLUMNS, discovery_markdown, discovery_table
from sdlcore.study.results.runs import KEY, read_metrics
from sdlcore.study.results.tables import write_csv


def main(*, metrics: list[Path], judges: list[dict[str, Any]], csv: Path, table_runs: Path, markdown: Path) -> None:
    """
    Args:
        metrics: metrics.json of each run, its model beside it
        judges: source, seed, references (a file or null), anchors (files by anchoring), all_stable (anchorings)
    """
    runs = _judged(metrics, judges)
    table = discovery_table(runs)
    write_csv(table_runs, runs)
    write_csv(csv, table)
    write_text(markdown, discovery_markdown(table))
    logging.info("%d rows from %d runs", len(table), len(runs))


def _judged(metrics: list[Path], judges: list[dict[str, Any]]) -> pd.DataFrame:
    runs = [(path, read_metrics(path)) for path in metrics]
    by_name = {tuple(run["run"][key] for key in KEY): (path, run["metrics"]) for path, run in runs}
    rows = []
    for judge in judges:
        anchors = {name: load_anchors(path) for name, path in judge["anchors"].items()}
        references = load_references(judge["references"]) if judge["references"] else None
        left = left_over(anchors, references, judge["all_stable"]) if references else {}
        for (source, method, protocol, anchoring, seed), (path, found) in by_name.items():
            if (source, seed) != (judge["source"], judge["seed"]):
                continue
            plain_path, plain = by_name[source, method, protocol, "none", seed]
            row: dict[str, Any] = dict(zip(KEY, (source, method, protocol, anchoring, seed), strict=True))
            row |= {name: found[name] for name in ("fvu", "l0", "dead_fraction")} | {"fvu_none": plain["fvu"]}
            own = anchors.get(anchoring)
            row["anchors"] = 0 if own is None else len(own.w_p)
            if references:
                row["near"] = 0 if own is None else int(lie_near(own, references).sum())
                row["left"] = int(left[anchoring].sum())
                row |= recovery_of(_cosines(path, references), left[anchoring])
                without = recovery_of(_cosines(plain_path, references), left[anchoring])
                row |= {f"{name}_none": value for name, value in without.items()}
            rows.append(row)
    order = list(by_name)
    rows.sort(key=lambda row: order.index(tuple(row[key] for key in KEY)))
    return pd.DataFrame(rows).reindex(columns=RUN_COLUMNS)


def _cosines(metrics: Path, references: References) -> Best:
    return best_cosines(load_model(metrics.with_name("model.safetensors")), references)


if __name__ == "__main__":
    cli(main, log="%(message)s")
