"""A pipeline without faults, and pipelines to inject faults into."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.faults.pipeline import Pipeline


class Whole(NamedTuple):
    """An undisturbed run."""

    pipeline: Pipeline
    results: dict[str, object]
    seconds: float
    """Total duration."""
    jobs: dict[str, float]
    """Seconds of each job."""


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Whole:
    pipeline = Pipeline(tmp_path_factory.mktemp("whole") / "sdl core")
    start = time.monotonic()
    pipeline.start().finish()
    return Whole(pipeline, pipeline.results(), time.monotonic() - start, pipeline.seconds_of_jobs())


@pytest.fixture
def pipeline(tmp_path) -> Iterator[Pipeline]:
    """A pipeline before its first run."""
    pipeline = Pipeline(tmp_path / "sdl core")
    yield pipeline
    pipeline.end()
