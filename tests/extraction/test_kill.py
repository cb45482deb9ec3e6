"""Extractions and trainings on streams that are killed at any moment go on to the files of those that never were.

What is killed are processes of `workflow/scripts/{activations,train}.py`, by SIGKILL, forked from one process
that has imported what the scripts import, since that takes longer than these extractions. They commit after every
batch, so that many a kill falls into a commit.
"""

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.extraction.tiny_llama import documents, save_tiny_llama
from tests.forking import Forking
from tests.stores import contents

SCRIPT = REPOSITORY / "workflow/scripts/activations.py"
TRAIN = REPOSITORY / "workflow/scripts/train.py"
SETTINGS = {"layer": 2, "context_length": 16, "contexts_per_batch": 2, "train_samples": 3000, "test_samples": 700}
TRAINING = {"activation": "topk", "k": 4, "n_q": 48, "steps": 400, "batch_size": 64, "normalise": True}
TRAINING |= {"log_every": 2, "checkpoint_every": 2}
FORKING = """
import runpy, sys
import numba
from sdlcore.extraction import text as corpus
from sdlcore.extraction import filling
import transformers.models.llama.modeling_llama
from tests.forking import serve
filling.COMMIT_BATCHES = 1
for script in sys.argv[1:]:
    runpy.run_path(script, run_name="warm-up")
import sdlcore.sparse.kernels.cpu
# what else each would do again: half of its time, as in workflow/warm.py
numba.njit(lambda: None)()

def run(request):
    corpus.WHOLE_BYTES = request["whole_bytes"]
    sys.argv = request["command"]
    runpy.run_path(sys.argv[0], run_name="__main__")

serve(run)
"""


class Extractions(Forking):
    """Starts processes of activations.py, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        save_tiny_llama(folder / "model")
        lines = [json.dumps({"text": text}) for text in documents(300)]
        (folder / "words.jsonl").write_text("\n".join(lines))
        super().__init__("-c", FORKING, str(SCRIPT), str(TRAIN), HF_HUB_OFFLINE="1")

    def extract(self, into: Path, whole_bytes: int, settings: dict, recipe: bool = False) -> int:
        model, text = str(self._folder / "model"), str(self._folder / "words.jsonl")
        source = {"model": "tiny", "text": "words", "shuffle_buffer": 40, **SETTINGS, **settings}
        command = [str(SCRIPT), "--source", json.dumps(source), "--model", model, "--text", text, "--device", "cpu"]
        train = "train.json" if recipe else "train.h5"
        command += ["--buffer-rows", "500", "--outputs", str(into / train), str(into / "test.h5")]
        return self._start(command, into, whole_bytes)

    def train(self, recipe: Path, into: Path, whole_bytes: int) -> int:
        command = [str(TRAIN), "--settings", json.dumps(TRAINING), "--seed", "3", "--device", "cpu"]
        command += ["--store", str(recipe), "--out", str(into)]
        return self._start(command, into, whole_bytes)

    def _start(self, command: list[str], into: Path, whole_bytes: int) -> int:
        into.mkdir(exist_ok=True)
        return self.start(command=command, log=str(into.with_suffix(".log")), whole_bytes=whole_bytes)[0]

    def ends(self, child: int, into: Path, kill: bool) -> bool:
        """Kill a process or let it be; return whether it ended well, not by the kill."""
        if kill:
            os.kill(child, signal.SIGKILL)
        (status,) = self.end()
        assert status in (0, -signal.SIGKILL if kill else 0), into.with_suffix(".log").read_text()
        return status == 0


@pytest.fixture(scope="module")
def extractions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Extractions]:
    started = Extractions(tmp_path_factory.mktemp("kill"))
    yield started
    started.close()


def unfinished(folder: Path) -> int:
    """Return how many bytes of stores are there that are not finished; files and folders may go meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        if place != str(folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    size += Path(place, name).stat().st_size
    return size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whole_bytes", "settings"), [(2**20, {}), (0, {"site": "mlp"})], ids=["whole text", "streamed text and a pair"]
)
def test_an_extraction_killed_again_and_again_ends_in_the_same_stores(whole_bytes, settings, extractions, tmp_path):
    extractions.extract(tmp_path / "whole", whole_bytes, settings)
    assert extractions.end() == [0], (tmp_path / "whole.log").read_text()
    killed, rng, kills = tmp_path / "killed", random.Random(0), 0
    while True:
        child = extractions.extract(killed, whole_bytes, settings)
        before, deadline = unfinished(killed), time.monotonic() + 60
        while unfinished(killed) <= before and not (killed / "test.h5").exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.15))
        if extractions.ends(child, killed, kill=kills < 6):
            break
        kills += 1
    log = killed.with_suffix(".log").read_text()
    assert log.count("resuming from row") >= 1, f"ended before it could be killed ({kills} times): {log}"
    for part in ("train", "test"):
        assert contents(killed / f"{part}.h5") == contents(tmp_path / f"whole/{part}.h5")
    assert {path.name for path in killed.iterdir()} == {"train.h5", "test.h5"}


@pytest.mark.slow
def test_a_training_on_a_stream_killed_again_and_again_ends_in_the_same_bits(extractions: Extractions, tmp_path: Path):
    whole_bytes = 0
    extractions.extract(tmp_path / "recipe", whole_bytes, {}, recipe=True)
    assert extractions.end() == [0], (tmp_path / "recipe.log").read_text()
    assert {path.name for path in (tmp_path / "recipe").iterdir()} == {"train.json", "test.h5"}
    recipe = tmp_path / "recipe/train.json"
    extractions.train(recipe, tmp_path / "whole", whole_bytes)
    assert extractions.end() == [0], (tmp_path / "whole.log").read_text()
    killed, rng, kills = tmp_path / "killed", random.Random(0), 0
    while True:
        child = extractions.train(recipe, killed, whole_bytes)
        deadline = time.monotonic() + 60
        while not (killed / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
            if (killed / "model.safetensors").exists():
                break
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.3))
        if extractions.ends(child, killed, kill=kills < 4):
            break
        kills += 1
    assert "resuming from step" in killed.with_suffix(".log").read_text(), f"killed {kills} times"
    for name in ("model.safetensors", "config.json"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {path.name for path in killed.iterdir()} == {"model.safetensors", "config.json", "history.csv"}
