"""The numbers in the paper's tables, and the setting of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.evaluation.metric_names import GT_RECOVERY, MIP
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.rendering.symbols import symbol
from sdlstudy.results.tables import read_csv
from sdlstudy.verdicts.readings import WITH_K, Reading, question
from sdlstudy.verdicts.scale import DEFAULTS, SWEPT, papers_value

NUMBER_COLUMNS = ["table", "method", "anchoring", "parameter", "value", "number", "paper"]
KEY = NUMBER_COLUMNS[:-1]


class Printed(NamedTuple):
    """A column of the paper's tables. A reading chooses the metric that corresponds to it (`readings.question`)."""

    label: str
    unit: float
    """Factor from our values to the paper's."""
    most: float
    """Largest possible value."""
    decimals: int
    """Smallest number of decimals that the paper prints."""


MEASURES = {
    "gt_recovery_percent": Printed(f"{GT_RECOVERY.symbol} (%)", unit=100.0, most=100.0, decimals=1),
    # inner products with rows longer than 1 may exceed 1
    "mip": Printed(MIP.symbol, unit=1.0, most=float("inf"), decimals=3),
    "l0": Printed(METRICS["l0"].symbol, unit=1.0, most=float("inf"), decimals=1),
}


def read_numbers(paths: Mapping[str, str | Path]) -> pd.DataFrame:
    """Read the paper's tables.

    Parameters
    ----------
    paths
        Table -> its CSV in ``resources/paper``: method, anchoring, the parameter that the table varies, and numbers.

    Returns
    -------
    DataFrame
        One row for each number with the columns `NUMBER_COLUMNS`, in the paper's order and units. ``value`` is the
        value of ``parameter``; for tables that vary nothing they are NaN and "". Table 6's S is converted to the S of
        Assumption 2.3, the probability that a feature is *inactive*: its row .01 repeats Table 1, where S = .99.
    """
    rows: list[tuple[Any, ...]] = []
    for table, path in paths.items():
        parameter = SWEPT[table]
        column = "paper_S" if table == "table6" else parameter
        for record in read_csv(path).to_dict("records"):
            value = papers_value(parameter, float(record[column])) if column else float("nan")
            key = (table, record["method"], record["anchoring"], parameter, value)
            rows += [(*key, number, float(record[number])) for number in MEASURES if number in record]
    return pd.DataFrame(rows, columns=NUMBER_COLUMNS)


def describe(row: Any) -> str:
    """Return a row of `read_numbers` or of the verdicts in words: table, method, anchoring and value."""
    text = f"{title(row['table'])}, {row['method']}, {anchored(row['anchoring'])}"
    # an empty parameter is read from a file as NaN
    parameter = row["parameter"]
    return f"{text}, {setting(parameter, row['value'])}" if isinstance(parameter, str) and parameter else text


def title(table: str) -> str:
    """Return the name of a table in words."""
    return table.replace("table", "Table ")


def anchored(anchoring: str) -> str:
    """Return an anchoring of the paper's tables in words."""
    return "without anchors" if anchoring == "none" else "with anchors"


def setting(parameter: str, value: float) -> str:
    """Return a varied parameter and its value in words, such as ``n = 800``."""
    return f"{symbol(parameter)} = {value:g}"


def bench_setting(row: Any, reading: Reading) -> tuple[Any, ...] | None:
    """Return all settings of a row and of its score, under a reading of its table; None for Table 2.

    Rows of different tables with equal settings must have the same number. Table 2 is about ImageNet embeddings, not
    about the bench.
    """
    if row["table"] == "table2":
        return None
    values = DEFAULTS | ({row["parameter"]: row["value"]} if row["parameter"] else {})
    if row["parameter"] != "k":
        values["k"] = float(reading.k)
    if row["method"] not in WITH_K:
        del values["k"]
    meaning = question(row, reading)
    return row["method"], row["anchoring"], row["number"], meaning.metric, meaning.n_anchors, *values.items()


def features(row: Any) -> int:
    """Return how many directions can be recovered: the features of the bench, the classes of Table 2."""
    if row["table"] == "table2":
        return 1000
    return int(row["value"]) if row["parameter"] == "n" else int(DEFAULTS["n"])
