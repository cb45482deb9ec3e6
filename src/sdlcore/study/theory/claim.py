"""A claim of the paper and what became of it over instances: the verdict follows from counts and is written nowhere."""

from typing import NamedTuple

HOLDS = "holds"
CONDITIONAL = "holds with a further condition"
FAILS = "fails as stated"
VERDICTS = (HOLDS, CONDITIONAL, FAILS)


class Claim(NamedTuple):
    """One claim, checked."""

    statement: str
    """Where it stands: a theorem, an example, a step of a proof."""
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
