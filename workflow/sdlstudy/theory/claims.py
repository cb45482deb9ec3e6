"""The results of checks, and the table and page of all claims.

A check computes one boolean per random instance: is the claim false here? The verdict follows from these counts.
claims.yaml has the sentences of each claim.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

HOLDS = "holds"
CONDITIONAL = "holds with a condition that the paper states elsewhere"
FAILS = "contradicted as stated"

CAPTION = (
    "The claims of the paper's theorems and examples, and statements of this project that go beyond them, each checked "
    "by computation in float64. “Version” is the version of the paper that the claim belongs to: version 3, a later "
    "revision, or both. A claim holds if no instance contradicts it. It holds with a condition that the paper states "
    "elsewhere if some instances contradict it, but none that meets this condition. Otherwise it is contradicted as "
    "stated; “Condition” then is our repair. Instances are random problems of a few features with dictionaries for "
    "them, and constructed counterexamples. Verdicts follow from the counts."
)


@dataclass(frozen=True)
class Result:
    """The result of a check."""

    name: str
    """The key of the claim in claims.yaml."""
    false: Sequence[bool]
    """One value per instance: True if the claim as stated is false for it."""
    observed: Sequence[Any] = ()
    """Constants, rates and shares, for the sentence of this name."""
    counterexample: Sequence[Any] = ()
    """The numbers of the counterexample."""
    false_then: Sequence[bool] = ()
    """One value per instance that meets the condition: True if the claim is false even then."""

    def verdict(self, condition_source: str) -> str:
        """Return `HOLDS`, `CONDITIONAL` or `FAILS`; ``condition_source`` is empty if the paper states no condition."""
        if not any(self.false):
            return HOLDS
        repaired = len(self.false_then) and not any(self.false_then)
        return CONDITIONAL if repaired and condition_source else FAILS

    def row(self, texts: dict[str, str]) -> dict[str, str | int]:
        """Return the claim's row of the table, with its texts of claims.yaml."""
        source, version = texts.get("condition_source", ""), texts["version"]
        later = texts.get("later_statement", texts["statement"]) if version != "3" else ""
        counterexample = texts.get("counterexample", "").format(*self.counterexample)
        return {
            "statement": texts["statement"],
            "version": version,
            "origin": texts.get("origin", "paper"),
            "later_statement": later,
            "claim": texts["claim"],
            "verdict": self.verdict(source),
            "checked": texts["checked"],
            "instances": len(self.false),
            "violations": int(sum(self.false)),
            "observed": texts["observed"].format(*self.observed),
            "counterexample": counterexample if any(self.false) else "",
            "condition": texts.get("condition", ""),
            "condition_source": source,
            "condition_instances": len(self.false_then),
            "condition_violations": int(sum(self.false_then)),
        }


def table(results: Iterable[Result]) -> pd.DataFrame:
    """Return a row for each claim, in the paper's order.

    Raises
    ------
    ValueError
        If a claim has no result, or a result no claim.
    """
    by_name = {result.name: result for result in results}
    claims = yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))
    if different := sorted(by_name.keys() ^ claims.keys()):
        raise ValueError(f"claims.yaml: expected one claim for each result of a check; compare {', '.join(different)}")
    return pd.DataFrame([by_name[name].row(texts) for name, texts in claims.items()])


def share(flags: Sequence[bool]) -> str:
    """Return the number and share of true flags, as "3 of 4 (75 %)"."""
    return f"{sum(flags)} of {len(flags)} ({100 * sum(flags) / len(flags):.0f} %)"


def page(table: pd.DataFrame) -> str:
    """Return the table of claims as Markdown: a summary, then a section per claim."""
    columns = ["statement", "version", "origin", "later_statement", "claim", "verdict", "instances", "violations"]
    summary = table[columns].replace(r"\|", r"\\|", regex=True).to_markdown(index=False, disable_numparse=True)
    parts = ["# The theorems, checked", CAPTION, summary]
    for row in table.to_dict("records"):
        texts = {name: row[name] for name in ("checked", "observed", "counterexample", "condition") if row[name]}
        lines = [f"- {name.capitalize()}: {text}" for name, text in texts.items()]
        parts += [f"## {row['statement']}", f"**{row['claim']}** {row['verdict'].capitalize()}.", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
