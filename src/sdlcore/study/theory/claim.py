"""A claim of the paper and what became of it over instances: the verdict follows from counts and is written nowhere."""

import re
from typing import NamedTuple

HOLDS = "holds"
CONDITIONAL = "holds with a further condition"
FAILS = "fails as stated"
VERDICTS = (HOLDS, CONDITIONAL, FAILS)

VERSION_3, LATER, BOTH = "3", "later", "both"
VERSIONS = (VERSION_3, LATER, BOTH)
"""Of the paper: what only version 3 claims, only the later revision, or both."""
RENUMBERED = {
    "Definition 3.6": "Definition 3.1",
    "Definition 3.9": "Definition 3.2",
    "Theorem 3.7": "Theorem 3.6",
    "Theorem 3.10": "Theorem 3.8",
    "Example 3.8": "Example 3.7",
}
"""What version 3 numbers otherwise than the later revision."""


class Claim(NamedTuple):
    """One claim, checked."""

    statement: str
    """Where it stands: a theorem, an example, a step of a proof, by version 3's numbers where both claim it."""
    version: str
    """One of `VERSIONS`."""
    says: str
    """What it claims."""
    checked: str
    """What was computed."""
    instances: int
    """How often it was checked as it is stated."""
    violations: int
    """How often it was false."""
    observed: str
    """Constants, rates and shares that were seen."""
    counterexample: str = ""
    """An instance in which it is false, in numbers."""
    condition: str = ""
    """Under what condition, or in which form, it is true."""
    condition_instances: int = 0
    """How often the claim was checked in that form."""
    condition_violations: int = 0
    """How often it was false all the same."""

    @property
    def later_statement(self) -> str:
        """Return where it stands in the later revision; "" if only version 3 claims it.

        Raises
        ------
        ValueError
            If the version is none of `VERSIONS`.
        """
        if self.version not in VERSIONS:
            raise ValueError(f"{self.statement}: version {self.version!r}, expected one of {', '.join(VERSIONS)}")
        if self.version != BOTH:
            return self.statement if self.version == LATER else ""
        return re.sub(r"[A-Z][a-z]+ \d\.\d+", lambda place: RENUMBERED.get(place[0], place[0]), self.statement)

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`.

        Raises
        ------
        ValueError
            If it was never checked.
        """
        if not self.instances:
            raise ValueError(f"{self.statement}: no instance was checked")
        if not self.violations:
            return HOLDS
        return CONDITIONAL if self.condition_instances and not self.condition_violations else FAILS
