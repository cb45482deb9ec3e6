"""Models saved by SAELens, sampled by both libraries, agree as far as 100,000 samples show."""

import subprocess

import numpy as np
import pytest

from sdlcore.benches.config import SaelensSource
from sdlcore.benches.saelens import read_synthetic_model
from sdlcore.benches.synth import Sampler
from sdlcore.random_streams import stream
from tests.conftest import REPOSITORY

PYTHON = REPOSITORY / "cache/environments/saelens/bin/python"
SAMPLES, FEWEST = 100_000, 50


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    assert PYTHON.exists(), f"{PYTHON} is missing: make interop-test sets it up"
    command = [str(PYTHON), str(REPOSITORY / "tests/interop/synthetic_models.py"), str(folder), str(SAMPLES)]
    done = subprocess.run(command, cwd=folder, env={"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def apart(ours, theirs):
    """Return the difference of two counts in standard errors, if they are large enough."""
    often = (ours + theirs) / 2 > FEWEST
    share = (ours[often] + theirs[often]) / 2 / SAMPLES
    return np.abs(ours - theirs)[often] / SAMPLES / np.sqrt(2 * share * (1 - share) / SAMPLES)


@pytest.mark.interop
@pytest.mark.parametrize("name", ["synthsaebench", "other", "flat"])
def test_our_samples_of_their_model_are_theirs(name, saved):
    theirs = np.load(saved / name / "statistics.npz")
    model = read_synthetic_model(SaelensSource(str(saved / name), n=96, n_p=48))
    # these statistics involve no random numbers
    law = model.distribution
    assert law.means == pytest.approx(theirs["means"], rel=1e-6)
    assert np.array_equal(law.deviations, theirs["deviations"])
    assert theirs["features"] @ model.W_p.T + law.bias == pytest.approx(theirs["hidden"], abs=1e-4)

    x = Sampler(law, model.families, stream(0, "samples")).coefficients(0, SAMPLES).toarray()
    on = (x > 0).astype(np.float32)
    active, together = on.sum(axis=0), on.T @ on
    pairs = np.triu_indices(96, 1)
    # the mean square of standard normal numbers is 1; one in two million exceeds 5
    frequencies = apart(active, theirs["active"])
    pairwise = apart(together[pairs], theirs["together"][pairs])
    assert len(frequencies) > 80
    assert len(pairwise) > 500
    assert frequencies.max() < 5
    assert pairwise.max() < 5.5
    assert abs(np.square(pairwise).mean() - 1) < 0.2

    def moments(sums, squares, counts):
        often = (active > FEWEST) & (theirs["active"] > FEWEST)
        mean = sums[often] / counts[often]
        return mean, squares[often] / counts[often] - np.square(mean), counts[often]

    our, their = (
        moments(*sums)
        for sums in (
            (x.sum(axis=0, dtype=float), np.square(x, dtype=float).sum(axis=0), active),
            (theirs["sum"], theirs["squares"], theirs["active"]),
        )
    )
    # magnitudes without a deviation differ only by rounding
    errors = np.sqrt(np.abs(our[1]) / our[2] + np.abs(their[1]) / their[2]) + 1e-4
    assert (np.abs(our[0] - their[0]) / errors).max() < 5
