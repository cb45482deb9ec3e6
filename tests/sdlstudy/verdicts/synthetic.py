"""Constructed runs at the paper's scale, with known verdicts."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pandas as pd

from sdlcore.evaluation.metric_names import FeatureSet
from sdlstudy.configuration.loading import load_yaml, validate
from sdlstudy.configuration.whole import Configuration
from sdlstudy.results.tables import PAPER_METHODS
from sdlstudy.settings.trees import merge
from sdlstudy.verdicts.claims import read_claims
from sdlstudy.verdicts.contradictions import Contradiction, accusations
from sdlstudy.verdicts.evidence import Evidence
from sdlstudy.verdicts.paper import MEASURES, read_numbers
from sdlstudy.verdicts.readings import JUDGED, question, stated
from sdlstudy.verdicts.scale import DEFAULTS, SWEPT, Resampling
from tests.conftest import REPOSITORY

PAPER = {table: REPOSITORY / f"resources/paper/{table}.csv" for table in SWEPT}
CLAIMS = read_claims(REPOSITORY / "resources/paper/claims.yaml")
METHOD = {papers: ours for ours, papers in PAPER_METHODS.items()}
ANCHORING = {
    "table1": {"none": "none", "anchored": "ground_truth_30"},
    "table2": {"none": "none", "anchored": "class_means"},
    "bench": {"none": "none", "anchored": "ground_truth"},
}

Value = Callable[[Any, int], float]
"""The value of a number's metric (a row of `read_numbers`) for a seed, in the paper's unit."""


def configuration(*names: str) -> Configuration:
    """Return one of the repository's configurations."""
    config: dict[str, Any] = {}
    for name in ("config", *names):
        config = merge(config, load_yaml(REPOSITORY / f"config/{name}.yaml"))
    return validate(config)


@cache
def papers_numbers() -> pd.DataFrame:
    return read_numbers(PAPER)


def contradictions(numbers: pd.DataFrame) -> dict[int, list[Contradiction]]:
    """Return index in ``numbers`` -> the problem with it, for numbers that no listed reading makes consistent."""
    return {index: about.findings for index, about in accusations(numbers).items() if not about.excuse}


@cache
def papers_configuration() -> Configuration:
    """Return the paper's configuration with a source or method for each value that its tables vary."""
    config = configuration("paper")
    lrb, topk = config.source("lrb"), config.methods["topk"]
    for _, row in papers_numbers().drop_duplicates(["parameter", "value"]).iterrows():
        if row["parameter"] == "k":
            changed = topk.model_copy(update={"k": int(row["value"])})
            config = with_setting(config, "methods", _variant("topk", row), value=changed)
        elif row["parameter"]:
            value = int(row["value"]) if row["parameter"] == "n" else row["value"]
            changed = lrb.model_copy(update={row["parameter"]: value})
            config = config.with_source(_variant("lrb", row), changed)
    return config.with_source("lrb_sparsity_0_95", lrb.model_copy(update={"sparsity": 0.95}))


def with_setting(settings: Any, *path: str, value: Any) -> Any:
    """Return settings with another value at a path of keys, even if it does not fit the others."""
    key, *rest = path
    mapping = isinstance(settings, dict)
    changed = value
    if rest:
        changed = with_setting(settings[key] if mapping else getattr(settings, key), *rest, value=value)
    return settings | {key: changed} if mapping else settings.model_copy(update={key: changed})


def _variant(name: str, row: Any) -> str:
    return f"{name}_{row['parameter']}_{row['value']:g}".replace(".", "_")


def as_printed(row: Any, seed: int) -> float:
    """Return the paper's own number for any seed."""
    return row["paper"]


def papers_runs(
    value: Value = as_printed,
    seeds: Sequence[int] = (0, 1, 2),
    protocol: str = "paper",
    numbers: pd.DataFrame | None = None,
    **changes: Any,
) -> dict[str, pd.DataFrame]:
    """Return runs of all tables with these values under the judged reading, changed as given."""
    runs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _, row in (papers_numbers() if numbers is None else numbers).iterrows():
        row = row.to_dict()
        ours = METHOD[row["method"]]
        swept = bool(row["parameter"]) and abs(DEFAULTS[row["parameter"]] - row["value"]) > 1e-9
        source = "imagenet_clip" if row["table"] == "table2" else "lrb"
        if swept and row["parameter"] != "k":
            source = _variant("lrb", row)
        anchoring = ANCHORING.get(row["table"], ANCHORING["bench"])[row["anchoring"]]
        measure = MEASURES[row["number"]]
        reading = stated(row["table"])[JUDGED]._replace(**changes)
        for seed in seeds:
            run = {
                "source": source,
                "method": _variant(ours, row) if swept and row["parameter"] == "k" else ours,
                "protocol": protocol,
                "anchoring": anchoring,
                "seed": seed,
            }
            if row["parameter"]:
                run |= {"parameter": row["parameter"], "value": row["value"], "paper_method": row["method"]}
            record = runs.setdefault((row["table"], *map(str, run.values())), {"table": row["table"], **run})
            metrics = {question(row, reading).metric}
            if row["anchoring"] == "none":  # compared with anchored runs on the features that are not anchored
                metrics.add(
                    question(row | {"anchoring": "anchored"}, reading._replace(scored=FeatureSet.UNANCHORED)).metric
                )
            record |= dict.fromkeys(metrics, value(row, seed) / measure.unit)
    frame = pd.DataFrame(list(runs.values()))
    return {
        str(table): group.drop(columns="table").dropna(axis=1, how="all").reset_index(drop=True)
        for table, group in frame.groupby("table", sort=False)
    }


def resampling(config: Configuration) -> Resampling:
    """Return the settings of Figure 6's runs in a configuration."""
    figure6 = config.figures.figure6
    return Resampling(figure6.source, figure6.sides(), figure6.protocol)


def evidence(runs: dict[str, pd.DataFrame], figure6: pd.DataFrame | None = None) -> Evidence:
    config = papers_configuration()
    return Evidence(config, runs, resampling(config), figure6)


def together(*parts: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the runs of several protocols, table by table."""
    return {table: pd.concat([part[table] for part in parts], ignore_index=True) for table in parts[0]}
