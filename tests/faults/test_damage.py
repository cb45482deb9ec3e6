"""Files damaged between invocations are rejected by name or recomputed, and never change results."""

import os
import random
import re
import time
from collections.abc import Iterator

import pytest

from tests.faults.conftest import Whole
from tests.faults.pipeline import RESULTS, Pipeline

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

SEED = int(os.environ.get("FAULTS_SEED", time.time_ns() % 2**32))


def cut_off(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flip_a_bit(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


FILES = {
    "feature matrices": ["bench/*/*/feature_matrix.safetensors"],
    "stores and anchors": ["activations/*/*/*.h5", "anchors/*/*/*.safetensors"],
    "models": ["runs/*/*/*/*/*/model.safetensors"],
    "metrics": ["runs/*/*/*/*/*/metrics.json"],
}
"""Files that later jobs read, by stage: 2, 5, 6 and 6 of the tiny pipeline."""
DAMAGED = [(stage, way) for stage in FILES for way in (cut_off, flip_a_bit)]
DAMAGED += [("stores and anchors", flip_a_bit), ("models", flip_a_bit)]
"""53 files of the tiny pipeline."""


@pytest.fixture(scope="module")
def finished(whole: Whole, tmp_path_factory) -> Iterator[Pipeline]:
    pipeline = Pipeline(tmp_path_factory.mktemp("damaged") / "sdl core").take(whole.pipeline)
    yield pipeline
    pipeline.end()


@pytest.mark.parametrize(("stage", "damage"), DAMAGED)
def test_damaged_files_of_a_stage_are_refused_or_written_anew(stage, damage, whole, finished):
    rng = random.Random(f"{SEED} {stage} {damage.__name__}")
    files = [file for pattern in FILES[stage] for file in sorted((finished.path / RESULTS).glob(pattern))]
    assert files
    for file in files:
        file.write_bytes(damage(file.read_bytes(), rng))
    waiting = set(files)
    passing = [name for name in whole.results if name.startswith(("bench/", "activations/", "anchors/"))]
    while (invocation := finished.start()).process.wait():
        # follow the errors as a user would: each job names the first of its files that is damaged
        errors = "\n".join(line for line in invocation.output().splitlines() if re.match(r"\S*Error: |\w+\.py: ", line))
        named = {file for file in waiting if str(file.relative_to(finished.path)) in errors}
        assert named, f"FAULTS_SEED={SEED}: no damaged file is named:\n{invocation.output()}"
        for file in named:
            file.unlink()
        waiting -= named
    # Snakemake does not notice a missing file whose products exist until the file itself is requested
    finished.assert_same(whole.results, missing=passing)
    finished.start("all", *(str(RESULTS / name) for name in passing)).finish()
    finished.assert_same(whole.results)
