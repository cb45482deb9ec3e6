"""The numbers of the paper's tables, one row each, and the setting that each belongs to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.evaluation.metrics import GT_RECOVERY, METRICS, MIP
from sdlcore.study.rendering.symbols import symbol
from sdlcore.study.results.tables import read_csv
from sdlcore.study.verdicts.readings import WITH_K, Reading, question
from sdlcore.study.verdicts.scale import DEFAULTS, SWEPT, papers_value

NUMBER_COLUMNS = ["table", "method", "anchoring", "parameter", "value", "number", "paper"]
KEY = NUMBER_COLUMNS[:-1]


class Printed(NamedTuple):
    """A column of the paper's tables. Which metric of runs it is, a reading says (`readings.question`)."""

    label: str
    unit: float
    """What a run's value is multiplied by."""
    most: float
    """The largest value that can be."""
    decimals: int
    """How many the paper prints at least."""


MEASURES = {
    "gt_recovery_percent": Printed(f"{GT_RECOVERY.symbol} (%)", unit=100.0, most=100.0, decimals=1),
    # inner products with rows longer than 1 may exceed 1
    "mip": Printed(MIP.symbol, unit=1.0, most=float("inf"), decimals=3),
    "l0": Printed(METRICS["l0"].symbol, unit=1.0, most=float("inf"), decimals=1),
}


class PaperError(ValueError):
    """A file with the paper's numbers is not what was expected; the message names it."""


def read_numbers(paths: Mapping[str, str | Path]) -> pd.DataFrame:
    """Read the paper's tables.

    Parameters
    ----------
    paths
        Table -> its CSV in ``resources/paper``: method, anchoring, the parameter that it varies, and numbers.

    Returns
    -------
    DataFrame
        One row a number with the columns `NUMBER_COLUMNS`, in the paper's order and units. ``value`` is of
        ``parameter``, both empty (NaN, "") where nothing is varied. Table 6's S is turned into that of Assumption 2.3,
        the probability that a feature is *inactive*: its .01 row repeats Table 1, which is at S = .99.

    Raises
    ------
    PaperError
        If a table is unknown, lacks a column or has a row twice.
    """
    rows: list[tuple[Any, ...]] = []
    for table, path in paths.items():
        if table not in SWEPT:
            raise PaperError(f"{path}: {table} has no numbers to judge, expected one of {', '.join(SWEPT)}")
        frame = read_csv(path)
        column = "paper_S" if table == "table6" else SWEPT[table]
        for name in ["method", "anchoring", *([column] if column else [])]:
            if name not in frame:
                raise PaperError(f"{path}: column {name} is missing, expected the paper's {table}")
        for record in frame.to_dict("records"):
            value = papers_value(SWEPT[table], float(record[column]) if column else float("nan"))
            key = (table, record["method"], record["anchoring"], SWEPT[table], value)
            rows += [(*key, number, float(record[number])) for number in MEASURES if number in record]
    numbers = pd.DataFrame(rows, columns=NUMBER_COLUMNS)
    doubled = numbers[numbers.duplicated(KEY)]
    if len(doubled):
        row = doubled.iloc[0]
        raise PaperError(f"{paths[row['table']]}: {describe(row)} stands twice, expected each row once")
    return numbers


def describe(row: Any) -> str:
    """Return where a number stands, as text: a row of `read_numbers` or of the verdicts."""
    text = f"{title(row['table'])}, {row['method']}, {anchored(row['anchoring'])}"
    # an empty parameter comes back from a file as NaN
    parameter = row["parameter"]
    return f"{text}, {setting(parameter, row['value'])}" if isinstance(parameter, str) and parameter else text


def title(table: str) -> str:
    """Return the name of a table as people write it."""
    return table.replace("table", "Table ")


def anchored(anchoring: str) -> str:
    """Return an anchoring of the paper's tables in words."""
    return "without anchors" if anchoring == "none" else "with anchors"


def setting(parameter: str, value: float) -> str:
    """Return what a table varies at a row, such as ``n = 800``."""
    return f"{symbol(parameter)} = {value:g}"


def bench_setting(row: Any, reading: Reading) -> tuple[Any, ...] | None:
    """Return all that a row of the bench is run with and scored by under a reading of its table.

    Equal for rows of different tables that must have the same number. None for Table 2, whose data are embeddings.
    """
    if row["table"] == "table2":
        return None
    values = DEFAULTS | ({row["parameter"]: row["value"]} if row["parameter"] else {})
    if row["parameter"] != "k":
        values["k"] = float(reading.k)
    if row["method"] not in WITH_K:
        del values["k"]
    asked = question(row, reading)
    return row["method"], row["anchoring"], row["number"], asked.metric, asked.n_anchors, *values.items()


def features(row: Any) -> int:
    """Return how many directions a row's recovery is a share of: the bench's features, Table 2's classes."""
    if row["table"] == "table2":
        return 1000
    return int(row["value"]) if row["parameter"] == "n" else int(DEFAULTS["n"])
