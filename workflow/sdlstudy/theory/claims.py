"""A claim of the paper with the result of its check, and the table and page of all claims.

A check computes one boolean per random instance: is the claim false here? The verdict follows from these counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

HOLDS = "holds"
CONDITIONAL = "holds with a condition that the paper states elsewhere"
FAILS = "contradicted as stated"
VERDICTS = (HOLDS, CONDITIONAL, FAILS)
VERSION_3, LATER, BOTH = "3", "later", "both"
VERSIONS = {VERSION_3: "version 3 alone", LATER: "the later revision alone", BOTH: "both versions"}
PAPER, PROJECT = "paper", "project"
RENUMBERED = {
    "Definition 3.6": "Definition 3.1",
    "Definition 3.9": "Definition 3.2",
    "Theorem 3.7": "Theorem 3.6",
    "Theorem 3.10": "Theorem 3.8",
    "Example 3.8": "Example 3.7",
}
"""Number of a statement in version 3 -> its number in the later revision, if they differ."""

CAPTION = (
    "The claims of the paper's theorems and examples, and statements of this project that go beyond them, each checked "
    "by computation in float64. “Version” is the version of the paper that the claim belongs to: version 3, a later "
    "revision, or both. A claim holds if no instance contradicts it. It holds with a condition that the paper states "
    "elsewhere if some instances contradict it, but none that meets this condition. Otherwise it is contradicted as "
    "stated; “Condition” then is our repair. Instances are random problems of a few features with dictionaries for "
    "them, and constructed counterexamples. Verdicts follow from the counts."
)


@dataclass(frozen=True)
class Claim:
    """A claim, with the instances that were checked.

    Raises
    ------
    ValueError
        If no instance was checked.
    """

    statement: str
    """The theorem, example or step of a proof. Claims in both versions have version 3's numbers."""
    version: str
    """`VERSION_3`, `LATER` or `BOTH`."""
    says: str
    checked: str
    """The computation, in words."""
    false: Sequence[bool]
    """One value per instance: True if the claim as stated is false for it."""
    observed: str
    """Observed constants, rates and shares, in words."""
    counterexample: str = ""
    """An instance that contradicts the claim, in numbers; not shown if no instance does."""
    condition: str = ""
    """A condition, or a changed form, with which the claim is true."""
    false_then: Sequence[bool] = ()
    """One value per instance that meets the condition: True if the claim is false even then."""
    condition_source: str = ""
    """The place where the paper states the condition; "" if the condition is this project's repair."""
    origin: str = PAPER
    """`PAPER`, or `PROJECT` for a statement of this project that goes beyond the paper's."""

    def __post_init__(self) -> None:
        if not len(self.false):
            raise ValueError(f"{self.statement}: no instance was checked")

    @property
    def later_statement(self) -> str:
        """Return the statement by the later revision's numbers; "" if only version 3 claims it."""
        if self.version != BOTH:
            return self.statement if self.version == LATER else ""
        return re.sub(r"[A-Z][a-z]+ \d\.\d+", lambda place: RENUMBERED.get(place[0], place[0]), self.statement)

    @property
    def verdict(self) -> str:
        """Return one of `VERDICTS`."""
        if not any(self.false):
            return HOLDS
        repaired = len(self.false_then) and not any(self.false_then)
        return CONDITIONAL if repaired and self.condition_source else FAILS

    def row(self) -> dict[str, str | int]:
        """Return the claim's row of the table."""
        return {
            "statement": self.statement,
            "version": self.version,
            "origin": self.origin,
            "later_statement": self.later_statement,
            "claim": self.says,
            "verdict": self.verdict,
            "checked": self.checked,
            "instances": len(self.false),
            "violations": int(sum(self.false)),
            "observed": self.observed,
            "counterexample": self.counterexample if any(self.false) else "",
            "condition": self.condition,
            "condition_source": self.condition_source,
            "condition_instances": len(self.false_then),
            "condition_violations": int(sum(self.false_then)),
        }


def share(flags: Sequence[bool]) -> str:
    """Return the number and share of true flags, as "3 of 4 (75 %)"."""
    return f"{sum(flags)} of {len(flags)} ({100 * sum(flags) / len(flags):.0f} %)"


def by_place(claims: list[Claim]) -> list[Claim]:
    """Sort claims in the order of the paper: by section and number, appendices last."""

    def place(claim: Claim) -> tuple[int, int]:
        number = re.search(r"(\d+)\.(\d+)", claim.statement)
        return (int(number[1]), int(number[2])) if number else (99, 0)

    return sorted(claims, key=place)


def counts_sentence(table: pd.DataFrame) -> str:
    """Return sentences with the numbers of claims by origin and verdict, and by version of the paper."""
    counted = []
    for origin in (PAPER, PROJECT):
        rows = table[table["origin"] == origin]
        counts = [f"{(rows['verdict'] == verdict).sum()} {verdict}" for verdict in VERDICTS]
        counted.append(f"{len(rows)} claims of {'the' if origin == PAPER else 'this'} {origin}: {', '.join(counts)}.")
    versions = [f"{(table['version'] == version).sum()} of {prose}" for version, prose in VERSIONS.items()]
    return f"{' '.join(counted)} Of all {len(table)}, {', '.join(versions)}."


def page(table: pd.DataFrame) -> str:
    """Return the table of claims as Markdown: a summary, then a section per claim."""
    columns = ["statement", "version", "origin", "later_statement", "claim", "verdict", "instances", "violations"]
    summary = table[columns].replace(r"\|", r"\\|", regex=True).to_markdown(index=False, disable_numparse=True)
    parts = ["# The theorems, checked", CAPTION, counts_sentence(table), summary]
    for row in table.to_dict("records"):
        texts = {name: row[name] for name in ("checked", "observed", "counterexample", "condition") if row[name]}
        lines = [f"- {name.capitalize()}: {text}" for name, text in texts.items()]
        parts += [f"## {row['statement']}", f"**{row['claim']}** {row['verdict'].capitalize()}.", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
