"""SAELens' evaluation of dictionaries on worlds of `sdl.SynthBench`, beside our own."""

import json
import subprocess

import pytest

from tests.conftest import REPOSITORY

PYTHON = REPOSITORY / "benchmarks/.venv/bin/python"


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory):
    return printed("tests/benches/judge.py", tmp_path_factory.getbasetemp() / "exported")


def printed(*command):
    """Return the JSON on the last line that a script prints."""
    done = subprocess.run([str(PYTHON), *map(str, command)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.peers
@pytest.mark.parametrize("version", [1, 2])
def test_saelens_and_we_agree_with_fixed_thresholds(version, evaluations):
    # a latent within rounding of its threshold may differ in one of 8,192 samples
    assert evaluations[f"ours {version}"] == pytest.approx(evaluations[f"threshold {version}"], abs=1e-3)
    assert evaluations[f"any encoder {version}"] == evaluations[f"threshold {version}"]
    assert 0.2 < evaluations[f"ours {version}"]["detection_f1"] < 0.99


@pytest.mark.peers
@pytest.mark.parametrize("version", [1, 2])
def test_with_batchtopk_exactly_k_latents_are_active_on_average(version, evaluations):
    active = evaluations[f"batchtopk {version}"]
    assert active["l0"] == pytest.approx(4)
    assert active["mcc"] == evaluations[f"threshold {version}"]["mcc"]
    # both choose nearly the same latents, since the threshold is the mean of BatchTopK's
    assert active["detection_f1"] == pytest.approx(evaluations[f"threshold {version}"]["detection_f1"], abs=0.1)


@pytest.mark.peers
@pytest.mark.parametrize(("name", "options"), [("threshold", []), ("batchtopk", ["--k", 4])])
def test_the_example_prints_saelens_scores(name, options, evaluations, tmp_path_factory):
    world = {"n": 96, "n_p": 48, "roots": 2, "depth": 2, "min_frequency": 0.01, "version": 1}
    exported = tmp_path_factory.getbasetemp() / "exported/1"
    example = ("examples/synthsaebench/score.py", exported, "--world", json.dumps(world), "--samples", 8192)
    scores = printed(*example, *options)
    assert scores["classification"]["f1_score"] == evaluations[f"{name} 1"]["detection_f1"]
    assert scores["sae_l0"] == evaluations[f"{name} 1"]["l0"]
