"""The tiny pipeline gives the same results on a Slurm with two nodes, despite cancelled jobs and drained nodes."""

import re
from typing import NamedTuple

import pytest

from tests.slurm.cluster import NODES, run, wait_for
from tests.slurm.conftest import Submission, is_midway, is_running, is_training, results, set_up

pytestmark = pytest.mark.slurm


class Disturbed(NamedTuple):
    submission: Submission
    cancelled: dict[str, str]
    """A job that was cancelled midway"""
    elsewhere: dict[str, str]
    """A job submitted after it, which ran while the first job's node was drained."""


@pytest.fixture(scope="module")
def disturbed(cluster, local, tmp_path_factory):
    """The whole pipeline; a job is cancelled, and its node drained and resumed."""
    checkout = set_up(tmp_path_factory.mktemp("disturbed") / "sdl core")
    # two jobs with three runs each, instead of one with four and one with two
    with Submission(cluster, checkout, "--set-resources", "train:gpu=1", "--group-components", "run=3") as submission:
        first = submission.wait_for("running training", is_midway)
        drained = first["NodeList"]
        run("scontrol", "update", f"nodename={drained}", "state=drain", "reason=test")
        wait_for("node that drains", lambda: cluster.node_states()[drained].startswith("drain"))
        submitted = {job["JobId"] for job in submission.jobs()}
        run("scancel", first["JobId"])
        elsewhere = submission.wait_for("training anew", lambda job: is_running(job) and job["JobId"] not in submitted)
        run("scontrol", "update", f"nodename={drained}", "state=resume")
        submission.finish()
    return Disturbed(submission, first, elsewhere)


def test_a_cancelled_job_and_a_node_that_is_drained_and_resumed_change_nothing(disturbed, local):
    assert results(disturbed.submission.checkout.path) == results(local().path)


def test_only_the_job_that_was_cancelled_is_submitted_again_and_none_to_a_drained_node(disturbed):
    jobs = {job["JobId"]: job for job in disturbed.submission.jobs()}
    ended_badly = {number: job["JobState"] for number, job in jobs.items() if job["JobState"] != "COMPLETED"}
    assert ended_badly == {disturbed.cancelled["JobId"]: "CANCELLED"}
    assert disturbed.elsewhere["NodeList"] != disturbed.cancelled["NodeList"]
    assert all(job["Restarts"] == "0" for job in jobs.values())
    # six runs, three per job
    assert sum(is_training(job) for job in jobs.values()) == 2 + 1


def test_the_pipeline_takes_few_jobs_that_ask_for_what_rules_need(disturbed):
    jobs = disturbed.submission.jobs()
    steps = int(re.search(r"of (\d+) steps \(100%\) done", disturbed.submission.log.read_text())[1])
    # without `all`, which Snakemake does itself, and including the cancelled job
    assert len(jobs) <= (steps - 1) / 2 + 1
    assert all(job["Partition"] == "gpu" for job in jobs)
    assert {job["NodeList"] for job in jobs} == set(NODES)
    trainings = [job for job in jobs if is_training(job)]
    # steps of a job run in turn: three trainings of at most four hours each, and evaluations of one hour
    assert {(job["TimeLimit"], job["NumCPUs"]) for job in trainings} == {("15:00:00", "1")}
    assert all(job["TresPerJob"] == "gres/gpu:1" for job in trainings)
    assert all("TresPerJob" not in job for job in jobs if job not in trainings)
    assert all(int(job["NumCPUs"]) <= 2 for job in jobs)
    assert all(re.search(r"mem=\d", job["ReqTRES"]) and job["TimeLimit"] != "UNLIMITED" for job in jobs)
