"""Our generator of SynthSAEBench's distribution agrees with SAELens' own, as far as 200,000 samples show."""

import json
import subprocess

import pytest

from tests.conftest import REPOSITORY

PYTHON = REPOSITORY / "benchmarks/.venv/bin/python"


@pytest.mark.peers
def test_both_generators_have_one_distribution():
    command = [str(PYTHON), "tests/sources/synth/saelens.py"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # no random numbers are in these
    assert found["candidacy"] < 1e-6
    assert found["means"] < 1e-6
    assert found["bias"] < 1e-6
    assert found["overlap_apart"] < 5
    # the scores of one dictionary
    for name in ("f1", "precision", "recall", "uniqueness", "mcc"):
        assert found[f"{name}_apart"] < 1e-6, name
    for name in ("deviations_p", "factors_p"):
        assert found[name] > 1e-4, name
    for version in (1, 2):
        check_samples({name.removesuffix(f"_v{version}"): value for name, value in found.items()})


def check_samples(found):
    """Check the statistics of samples of one version."""
    # a child without its parent, or two siblings, were never seen in either
    assert found["orphans"] == found["siblings"] == 0
    # in standard errors: beyond 5 is one normal number in two million; 256 features and 2000 pairs are asked
    assert found["features"] > 200
    assert found["pairs"] > 1500
    assert found["children"] > 80
    for name in ("active", "magnitudes", "products"):
        assert found[f"{name}_largest"] < 5, name
    assert found["together_largest"] < 5.5
    # the mean square of m standard normal numbers is 1 within 5 sqrt(2 / m); pairs share features, so it varies more
    assert abs(found["active_mean_square"] - 1) < 5 * (2 / found["features"]) ** 0.5
    assert abs(found["together_mean_square"] - 1) < 0.15
    assert abs(found["deviations_ratio"] - 1) < 0.01
    assert found["l0_p"] > 1e-4
