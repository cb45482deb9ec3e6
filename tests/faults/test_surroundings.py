"""Full or read-only disks and a second Snakemake: runs stop with an error, and can resume."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Whole
from tests.faults.pipeline import RESULTS, Pipeline

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@contextmanager
def mounted(where: Path, *options: str) -> Iterator[None]:
    """Mount a file system there for a while; skip the test if that is not allowed."""
    where.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here, which takes root: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


def remount(where: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(where)], check=True)


def test_a_full_disk_stops_the_run_with_a_sentence_and_a_larger_one_ends_it(whole: Whole, pipeline: Pipeline):
    results = pipeline.path / "results"
    needed = sum(file.stat().st_size for file in (whole.pipeline.path / RESULTS).rglob("*"))
    with mounted(results, "-t", "tmpfs", "-o", "size=100k", "tmpfs"):
        for share in (0.1, 0.4, 0.7):
            remount(results, f"size={int(share * needed)}")
            output = pipeline.start().fail()
            assert re.search(
                rf"{RESULTS}/\S+.*No space left on device|No space left on device.*{RESULTS}/\S+", output
            ), output
        remount(results, "size=100m")
        pipeline.start().finish()
        pipeline.assert_same(whole.results)


def test_a_second_invocation_in_a_directory_is_refused_and_disturbs_nothing(whole: Whole, pipeline: Pipeline):
    first = pipeline.start()
    first.log = first.log.rename(first.log.with_suffix(".first"))
    while not first.processes():
        assert not first.ended_within(0.1), first.output()
    output = pipeline.start().fail()
    assert "Another Snakemake instance is running" in output or "cannot be locked" in output, output
    assert "Traceback" not in output
    assert first.process.poll() is None, "the second one came too late"
    first.finish()
    pipeline.assert_same(whole.results)
