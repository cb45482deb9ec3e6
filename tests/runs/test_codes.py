"""The pipeline's stage of codes: `search` and `refine` on a training, alike after a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sdlcore as sdl
from runs.codes import CodesConfig
from runs.folder import Run, Training
from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import ActivationStore
from sdlcore.random_streams import stream
from tests.conftest import REPOSITORY, script
from tests.stores import write_store

SCRIPT = REPOSITORY / "workflow/scripts/codes.py"
TRAINING = {"activation": "batchtopk", "k": 3, "n_q": 24, "bias": True, "steps": 40, "batch_size": 64, "lr": 0.003}
CODES = {"search": "posterior", "samples": 500, "rounds": 5}
FILES = ("model.safetensors", "history.csv", "config.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a store, and a training on it."""
    folder = tmp_path_factory.mktemp("runs")
    x = sdl.SynthBench.draw(seed=0, n=32, n_p=24, roots=3, branching=2, depth=2, max_frequency=0.15).samples(3000).input
    write_store(folder / "train.h5", x)
    script("train")(Run(0, folder / "train.h5", folder / "trained"), Training(device="cpu"), settings=TRAINING)
    return folder


def command(folder: Path, name: str, **settings) -> list[str]:
    arguments = {"settings": json.dumps(CODES | settings), "seed": 0, "store": folder / "train.h5"}
    arguments |= {"start": folder / "trained/model.safetensors", "finished": folder / "*", "out": folder / name}
    options = [str(part) for option, value in arguments.items() for part in (f"--{option}", value)]
    return [sys.executable, str(SCRIPT), *options]


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    """The folder of a stage that nothing disturbed."""
    subprocess.run(command(folder, "codes"), check=True, capture_output=True)
    return folder / "codes"


def test_the_stage_searches_and_refines_on_the_batches_after_the_training(folder, made):
    trained, codes = sdl.load(folder / "trained"), sdl.load(made)
    with ActivationStore(folder / "train.h5") as store:
        reader = BatchReader(store, "sae", TRAINING["batch_size"], lambda epoch: stream(0, "order", epoch))
        found = sdl.search(trained, store.read("input")[:500], n_samples=500, progress=False)
        later = lambda step: reader(TRAINING["steps"] + step)[0]  # noqa: E731
        expected = sdl.refine(found, later, CODES["rounds"], n_samples=500, progress=False)
        x = store.read("input")[:200]
    np.testing.assert_array_equal(codes.W_dec, expected.W_dec)
    np.testing.assert_array_equal(codes.encode(x), expected.encode(x))
    assert codes.provenance["replaced"] == expected.provenance["replaced"]
    assert (made / "history.csv").read_bytes() == (folder / "trained/history.csv").read_bytes()
    assert CodesConfig.from_dict(CODES).to_dict().items() <= codes.provenance["settings"].items()
    assert codes.provenance["identity"]["stage"] == "codes"


def test_a_killed_stage_leaves_no_run_and_the_next_one_has_the_same_bits(folder, made):
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    arguments = command(folder, "killed", rounds=6)
    stage = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment)
    assert any("mean shift, round 1" in line for line in stage.stderr)
    stage.send_signal(signal.SIGKILL)
    stage.communicate()
    assert not (folder / "killed").exists() or not {path.name for path in (folder / "killed").iterdir()} & set(FILES)
    for name in ("killed", "undisturbed"):
        finished = [*command(folder, name, rounds=6)]
        finished[finished.index("--finished") + 1] = ""  # search anew, and copy nothing
        subprocess.run(finished, check=True, capture_output=True)
    files = [(folder / name / "model.safetensors").read_bytes() for name in ("killed", "undisturbed")]
    assert files[0] == files[1]


def test_a_finished_stage_with_the_same_settings_is_copied(folder, made):
    done = subprocess.run(command(folder, "copy"), check=True, capture_output=True, text=True)
    assert "is a finished run with the same inputs" in done.stderr
    for name in FILES[:2]:
        assert (folder / "copy" / name).read_bytes() == (made / name).read_bytes()
