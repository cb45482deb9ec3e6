"""The tiny pipeline on a Slurm of two nodes ends as it does without one, whatever becomes of jobs and nodes."""

import os
import re

import pytest

from tests.slurm.cluster import GPUS, NODES, run, wait_for
from tests.slurm.conftest import is_midway, is_training, results
from tests.workflow import pretended_conda

pytestmark = pytest.mark.slurm


def test_the_pipeline_ends_as_without_a_cluster_in_few_jobs_that_ask_for_what_rules_need(submitted, local, cluster):
    submission = submitted("--set-resources", "train:gpu=1")
    submission.finish()
    assert results(submission.checkout.path) == results(local.path)

    jobs = submission.jobs()
    steps = int(re.search(r"of (\d+) steps \(100%\) done", submission.log.read_text())[1])
    # without `all`, which Snakemake itself is done with
    assert len(jobs) <= (steps - 1) / 2
    assert all(job["Partition"] == "gpu" for job in jobs)
    assert {job["NodeList"] for job in jobs} == set(NODES)
    trainings = [job for job in jobs if is_training(job)]
    # six runs, four at most in a job; of theirs, one at a time takes a GPU
    assert len(trainings) == 2
    assert all(job["TresPerJob"] == "gres/gpu:1" for job in trainings)
    assert all("TresPerJob" not in job for job in jobs if job not in trainings)
    assert all(int(job["NumCPUs"]) <= 2 for job in jobs)
    assert all(re.search(r"mem=\d", job["ReqTRES"]) and job["TimeLimit"] != "UNLIMITED" for job in jobs)


def test_gpus_are_given_to_one_job_each(cluster):
    shown = run("srun", "--ntasks", "2", "--nodes", "1", "--gpus-per-task=1", "printenv", "CUDA_VISIBLE_DEVICES")
    assert len(shown.split()) == GPUS


def test_a_cancelled_job_and_a_node_that_is_drained_and_resumed_change_nothing(submitted, local, cluster):
    submission = submitted()
    first = submission.wait_for("running training", is_midway)
    drained = first["NodeList"]
    run("scancel", first["JobId"])
    run("scontrol", "update", f"nodename={drained}", "state=drain", "reason=test")
    # not until it is drained: another job of this run may still be on it
    wait_for("node that drains", lambda: cluster.node_states()[drained].startswith("drain"))
    number = int(first["JobId"])
    again = submission.wait_for("training anew", lambda job: is_training(job) and int(job["JobId"]) > number)
    run("scontrol", "update", f"nodename={drained}", "state=resume")
    submission.finish()
    states = {job["JobId"]: job["JobState"] for job in submission.jobs()}
    assert states[first["JobId"]] == "CANCELLED"
    assert states[again["JobId"]] == "COMPLETED"
    assert results(submission.checkout.path) == results(local.path)


def test_a_node_that_goes_down_and_a_controller_that_is_killed_change_nothing(submitted, local, cluster):
    wanted = "results/tiny/runs/lrb/topk/best/none/seed0/metrics.json"
    submission = submitted(wanted)
    job = submission.wait_for("running training", is_midway)
    node = job["NodeList"]
    cluster.crash_node(node)
    wait_for("node that is down", lambda: cluster.node_states()[node].startswith("down"))
    submission.wait_for("job that runs again", lambda each: each["JobId"] == job["JobId"] and each["Restarts"] == "1")
    cluster.kill_controller()
    cluster.start_controller()
    cluster.start_node(node)
    submission.finish()
    found = results(submission.checkout.path)
    assert wanted in found
    assert found.items() <= results(local.path).items()


def test_jobs_on_nodes_run_in_the_conda_environment_that_was_made_where_snakemake_runs(
    submitted, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", f"{pretended_conda.install(tmp_path / 'conda')}:{os.environ['PATH']}")
    submission = submitted("results/tiny/tables/table3.csv", "--use-conda")
    submission.finish()
    (environment,) = submission.checkout.path.glob(".snakemake/conda/*_")
    assert (tmp_path / "conda/activated").read_text().splitlines() == [str(environment)]


def test_afterwards_nodes_are_idle_and_the_queue_is_empty(cluster):
    wait_for("idle nodes", lambda: set(cluster.node_states().values()) == {"idle"})
    assert not run("squeue", "--noheader")
