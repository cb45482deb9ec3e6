"""A cluster for all tests of this folder, and the tiny pipeline with its profile."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.workflow.conftest import Checkout

OPTIONS = ["--workflow-profile", "profiles/slurm", "--configfile", "config/tiny.yaml"]
# without other users, the scheduler may be polled more often
OPTIONS += ["--slurm-init-seconds-before-status-checks", "1"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    # more CPUs than exist, so that jobs from a drained node need not wait for each other
    with Cluster(tmp_path_factory.mktemp("slurm"), cpus=4) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """The same pipeline without a cluster, run in the background; calling it waits for the result."""
    checkout = Checkout(tmp_path_factory.mktemp("local") / "sdl core")
    with ThreadPoolExecutor() as background:
        run = background.submit(checkout.snakemake)

        def wait() -> Checkout:
            run.result()
            return checkout

        yield wait


def set_up(path: Path) -> Checkout:
    """A checkout whose profile was set up for the cluster, as by a user."""
    checkout = Checkout(path)
    profile = checkout.path / "profiles/slurm/profile.yaml"
    text = profile.read_text()
    for old, new in {"# slurm_partition: gpu": "slurm_partition: gpu", "cores: 8": "cores: 2"}.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    profile.write_text(text)
    return checkout


class Submission:
    """One run of Snakemake through the profile, in the background."""

    def __init__(self, cluster: Cluster, checkout: Checkout, *arguments: str) -> None:
        self.cluster = cluster
        self.checkout = checkout
        self.log = checkout.path / "snakemake.out"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "snakemake", *arguments, *OPTIONS]
            self.process = subprocess.Popen(command, cwd=checkout.path, env=environment, stdout=log, stderr=log)

    def __enter__(self) -> "Submission":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def jobs(self) -> list[dict[str, str]]:
        """Return this run's jobs as the scheduler describes them."""
        match = re.search(r"SLURM run ID: (\S+)", self.log.read_text())
        return [job for job in self.cluster.jobs() if job["JobName"] == match[1]] if match else []

    def wait_for(self, what: str, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Wait for one of this run's jobs to be in some state, and return it."""
        while self.process.poll() is None:
            for job in self.jobs():
                if condition(job):
                    return job
            time.sleep(0.2)
        raise AssertionError(f"no {what} before Snakemake ended:\n{self.log.read_text()}")

    def finish(self) -> None:
        assert self.process.wait() == 0, self.log.read_text()
        assert {job["JobState"] for job in self.jobs()} <= {"COMPLETED", "CANCELLED"}


def is_training(job: dict[str, str]) -> bool:
    return "train" in job["Comment"]


def is_running(job: dict[str, str]) -> bool:
    return is_training(job) and job["JobState"] == "RUNNING"


def is_midway(job: dict[str, str]) -> bool:
    """Return whether a training runs, for long enough to have started something."""
    return is_running(job) and job["RunTime"] >= "00:00:04"


def results(folder: Path) -> dict[str, object]:
    """Return a run's results: tables as they are, metrics without time and place of their computation."""
    contents: dict[str, object] = {}
    for file in sorted((folder / "results/tiny").rglob("*")):
        name = str(file.relative_to(folder))
        if file.name == "metrics.json":
            contents[name] = {key: value for key, value in json.loads(file.read_text()).items() if key != "provenance"}
        elif file.parent.name == "tables" or file.name == "model.safetensors":
            contents[name] = file.read_bytes()
    return contents
