"""Full or read-only disks, jumping clocks and a second Snakemake: runs stop with an error, and can resume."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdlcore.storage.files import atomic_path
from tests.faults.conftest import Whole
from tests.faults.pipeline import RESULTS, Pipeline

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

YEAR = 365 * 24 * 3600
AS_THE_DOCUMENTATION_SAYS = 'find results -newermt now -exec touch --date="$(date)" {} +'
RUN = RESULTS / "runs/lrb/topk/best/none/seed0"


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


def named_in_a_sentence(what: str, output: str) -> bool:
    """Return whether an error names the problem and the affected result."""
    return re.search(rf"^\S*Error\b.*({what}.*{RESULTS}/\S+|{RESULTS}/\S+.*{what})", output, re.MULTILINE) is not None


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


@pytest.mark.parametrize("target", [str(RUN / "metrics.json"), str(RESULTS / "report.html")])
def test_a_disk_without_room_for_an_evaluation_or_the_report_is_named(whole: Whole, pipeline: Pipeline, target: str):
    results = pipeline.path / "results"
    with mounted(results, "-t", "tmpfs", "-o", "size=100m", "tmpfs"):
        for part in ("results", "logs", ".snakemake"):
            shutil.copytree(whole.pipeline.path / part, pipeline.path / part, dirs_exist_ok=True)
        (pipeline.path / target).unlink()
        room = os.statvfs(results)
        remount(results, f"size={room.f_frsize * (room.f_blocks - room.f_bfree)}")
        output = pipeline.start(target).fail()
        assert named_in_a_sentence("No space left on device", output), output
        remount(results, "size=100m")
        pipeline.start().finish()
        pipeline.assert_same(whole.results)


def test_results_that_cannot_be_written_stop_the_run_with_a_sentence(whole: Whole, pipeline: Pipeline):
    results = pipeline.path / "results"
    pipeline.start(str(RUN / "model.safetensors")).finish()
    with mounted(results, "--bind", str(results)):
        remount(results, "bind,ro")
        output = pipeline.start().fail()
        assert named_in_a_sentence("Read-only file system", output), output
    pipeline.start().finish()
    pipeline.assert_same(whole.results)


@pytest.mark.parametrize("folder", ["logs", ".snakemake"])
def test_a_full_or_read_only_folder_beside_the_results_is_named_at_the_start(pipeline: Pipeline, folder: str):
    place = pipeline.path / folder
    with mounted(place, "-t", "tmpfs", "-o", "size=4k", "tmpfs"):
        (place / "fills").write_bytes(bytes(4096))
        output = pipeline.start().fail()
        assert f"{folder}: No space left on device: make room, and run this again" in output, output
        remount(place, "ro")
        output = pipeline.start().fail()
        assert f"{folder}: Read-only file system" in output, output


@pytest.mark.parametrize("folder", ["logs", ".snakemake"])
def test_a_folder_that_fills_up_during_the_run_is_named_at_its_end(pipeline: Pipeline, folder: str):
    place = pipeline.path / folder
    with mounted(place, "-t", "tmpfs", "-o", "size=200k", "tmpfs"):
        invocation = pipeline.start(str(RUN / "metrics.json"))
        while not (invocation.ended_within(0.05) or "localrule" in invocation.output()):
            pass
        with contextlib.suppress(OSError), (place / "fills").open("wb", buffering=0) as fills:
            while True:
                fills.write(bytes(1024))
        output = invocation.fail()
        assert re.search(rf"{folder}: No space left on device|No space left on device.*{place}", output), output
        (place / "fills").unlink()
        remount(place, "size=10m")
        pipeline.start(str(RUN / "metrics.json")).finish()


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


def test_two_invocations_that_start_at_once_leave_what_one_does(whole: Whole, pipeline: Pipeline):
    first = pipeline.start()
    first.log = first.log.rename(first.log.with_suffix(".first"))
    second = pipeline.start()
    ended = [one.process.wait() for one in (first, second)]
    assert 0 in ended, first.output() + second.output()
    for one in (first, second):
        assert "Traceback" not in one.output()
        refused = "Another Snakemake instance is running" in one.output() or "cannot be locked" in one.output()
        assert refused == (one.process.returncode != 0), one.output()
    pipeline.start().finish()
    pipeline.assert_same(whole.results)


def test_two_configurations_in_a_directory_do_not_disturb_each_other(whole: Whole, pipeline: Pipeline):
    first = pipeline.start()
    first.log = first.log.rename(first.log.with_suffix(".first"))
    pipeline.start("--config", "name=other").finish()
    first.finish()
    pipeline.assert_same(whole.results)
    files = {
        str(path.relative_to(pipeline.path / "results/other"))
        for path in (pipeline.path / "results/other").rglob("*.safetensors")
    }
    assert files == {name for name in whole.results if name.endswith(".safetensors")}


def move_times(pipeline: Pipeline, seconds: float) -> None:
    for file in (pipeline.path / "results").rglob("*"):
        when = file.stat().st_mtime + seconds
        os.utime(file, (when, when))


def begun(pipeline: Pipeline) -> None:
    """Run a part of the pipeline."""
    pipeline.start(str(RUN / "model.safetensors"), str(RESULTS / "tables/table3.csv")).finish()


def test_a_clock_that_jumps_forth_between_invocations_changes_nothing(whole: Whole, pipeline: Pipeline):
    begun(pipeline)
    move_times(pipeline, -YEAR)
    pipeline.start().finish()
    pipeline.assert_same(whole.results)


def test_files_of_the_future_are_refused_by_their_name_until_their_times_are_set(whole: Whole, pipeline: Pipeline):
    """As after a clock that was ahead, and is set back between invocations."""
    begun(pipeline)
    move_times(pipeline, YEAR)
    output = pipeline.start().fail()
    assert re.search(rf"older modification time .* than input {RESULTS}/\S+", output), output
    subprocess.run(AS_THE_DOCUMENTATION_SAYS, shell=True, cwd=pipeline.path, check=True)
    pipeline.start().finish()
    pipeline.assert_same(whole.results)


def test_a_clock_that_jumps_during_the_run_changes_no_result(whole: Whole, pipeline: Pipeline):
    """All processes see a clock that jumps back by a day, then forth by two; file times stay the machine's."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("the clock cannot be made to jump without libfaketime (Debian's package)")
    clock = pipeline.path / "clock"

    def set_clock(to: str) -> None:
        with atomic_path(clock) as part:  # processes read it all the time
            part.write_text(to)

    set_clock("+0")
    invocation = pipeline.start(
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        NO_FAKE_STAT="1",
    )
    jumps = ["-1d", "+1d", "+0"]
    while not invocation.ended_within(whole.seconds / 10):
        set_clock(jumps[0])
        jumps = [*jumps[1:], jumps[0]]
    # Snakemake gives outputs the time of its own clock, and rejects inputs from the future by name
    if invocation.process.returncode:
        output = invocation.output()
        assert re.search(rf"older modification time .* than input {RESULTS}/\S+", output), output
        subprocess.run(AS_THE_DOCUMENTATION_SAYS, shell=True, cwd=pipeline.path, check=True)
        pipeline.start().finish()
    pipeline.assert_same(whole.results)
