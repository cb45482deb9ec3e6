"""Dictionaries imported after training give the other library's latents and reconstructions, on held-out samples."""

import json
import subprocess

import pytest

from peers.settings import ARCHITECTURES
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.peers

PYTHON = REPOSITORY / "benchmarks/.venv/bin/python"


@pytest.mark.parametrize("peer", ARCHITECTURES)
def test_an_imported_dictionary_computes_what_the_library_computes(peer):
    command = [str(PYTHON), "tests/peers/parity.py", peer]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    comparisons = json.loads(done.stdout.splitlines()[-1])
    assert comparisons.keys() == {*ARCHITECTURES[peer], *(["matryoshka"] if "batchtopk" in ARCHITECTURES[peer] else [])}
    for method, what in comparisons.items():
        assert what["latents"] < 1e-5, method
        assert what["reconstructions"] < 1e-5, method
        # a trained dictionary, so that biases and sigma matter
        assert what["steps"] == 60, method
        assert what["last_loss"] < 0.9 * what["first_loss"], method
        assert what["b_dec"] > 0.01, method
        assert 1 < what["l0"] < 40, method


@pytest.mark.parametrize("script", ["penalties", "annealing", "archetypes"])
def test_terms_and_encoders_are_those_of_the_library(script):
    command = [str(PYTHON), f"tests/peers/{script}.py"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for form, losses in json.loads(done.stdout.splitlines()[-1]).items():
        assert losses["ours"] > 0.1, form
        assert losses["ours"] == pytest.approx(losses["theirs"], rel=1e-5), form
        assert losses["latents"] < 1e-5, form
