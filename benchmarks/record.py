"""Save the state of a benchmark run after every measurement."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import results


@dataclass
class Record:
    """Rows and failures so far. A killed run leaves all cases that it had finished."""

    folder: Path
    facts: dict[str, Any]
    """Date, machine, arguments and similar facts about the run."""
    steps: list[results.Row] = field(default_factory=list)
    recovery: list[results.Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Cause of each failure, by the name of the case."""
    started: float = field(default_factory=time.monotonic)

    def note(self, versions: dict[str, str], failed: dict[str, str]) -> None:
        """Add versions and failures, and write everything."""
        self.versions |= versions
        self.failed |= failed
        self.write()

    def write(self, finished: bool = False) -> None:
        """Write everything so far, each file atomically."""
        facts = {
            **self.facts,
            "minutes": (time.monotonic() - self.started) / 60,
            "versions": self.versions,
            "failed": self.failed,
            "finished": finished,
        }
        results.write(self.folder, self.steps, self.recovery, facts)
