"""Keep on disk what a run of the benchmark has measured, after everything that it measures."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import results


@dataclass
class Record:
    """Rows, and what failed. A run that is killed leaves those of all that it had finished."""

    folder: Path
    facts: dict[str, Any]
    """When, on what and with what arguments it is measured."""
    steps: list[results.Row] = field(default_factory=list)
    recovery: list[results.Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Why each case that failed did, by its name."""
    started: float = field(default_factory=time.monotonic)

    def note(self, versions: dict[str, str], failed: dict[str, str]) -> None:
        """Take in which versions answered and what failed, and write all that is known."""
        self.versions |= versions
        self.failed |= failed
        self.write()

    def write(self, finished: bool = False) -> None:
        """Write all that is known, each file whole or not at all."""
        facts = {
            **self.facts,
            "minutes": (time.monotonic() - self.started) / 60,
            "versions": self.versions,
            "failed": self.failed,
            "finished": finished,
        }
        results.write(self.folder, self.steps, self.recovery, facts)
