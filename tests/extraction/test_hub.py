"""Models and data sets under their real names, from a hub on this machine, by the code that real ones are loaded by.

Each test runs workflow/scripts/activations.py, or less, in a process of its own, since the hub's client reads its
address when it is imported.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sdlcore.data.reading import ActivationStore
from tests.conftest import REPOSITORY
from tests.extraction.fake_hub import commit_of, fake_hub
from tests.extraction.tiny_llama import documents, save_tiny_llama

MODEL, GATED, DATASET = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B", "HuggingFaceFW/fineweb-edu"
SETTINGS = {"layer": 2, "context_length": 16, "train_samples": 400, "test_samples": 100, "text_config": "sample-10BT"}
CARD = """---
configs:
- config_name: sample-10BT
  data_files:
  - split: train
    path: sample/10BT/*
---
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Give the hub's address and a home of its client that stays empty."""
    folder = tmp_path_factory.mktemp("hub")
    for name in (MODEL, GATED):
        save_tiny_llama(folder / "models" / name)
    (folder / f"models/{MODEL}/original").mkdir()
    (folder / f"models/{MODEL}/original/consolidated.00.pth").write_bytes(b"16 GB that nobody needs")
    rows = folder / f"datasets/{DATASET}/sample/10BT"
    rows.mkdir(parents=True)
    (folder / f"datasets/{DATASET}/README.md").write_text(CARD)
    texts = documents(90)
    for part in range(3):
        table = pyarrow.table({"text": texts[30 * part : 30 * part + 30], "id": [f"{part}-{i}" for i in range(30)]})
        pyarrow.parquet.write_table(table, rows / f"00{part}_00000.parquet")
    with fake_hub(folder, gated={GATED}) as address:
        yield address, tmp_path_factory.mktemp("home")


def run(command: list[str], address: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(home), **variables}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


# datasets sleeps for five seconds whenever it has stopped reading
BRISK = "import datasets.config; datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0\n"
EXTRACTING = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.mark.slow
def test_the_papers_model_and_text_are_loaded_by_name_at_their_commits(hub: tuple[str, Path], tmp_path: Path):
    address, home = hub
    source = {"model": MODEL, "text": f"dataset:{DATASET}", **SETTINGS}
    command = [str(REPOSITORY / "workflow/scripts/activations.py"), "--source", json.dumps(source), "--device", "cpu"]
    command += ["--model", MODEL, "--text", f"dataset:{DATASET}"]
    command += ["--outputs", str(tmp_path / "train.h5"), str(tmp_path / "test.h5")]
    done = run(["-c", BRISK + EXTRACTING, *command], address, home)
    assert done.returncode == 0, done.stderr
    with ActivationStore(tmp_path / "train.h5") as store:
        assert (store.rows, store.widths) == (400, (24,))
        facts = store.provenance
    assert facts["model"] == {"name": MODEL, "commit": commit_of(MODEL)}
    assert facts["text"]["dataset"] == DATASET
    assert facts["text"]["commit"] == commit_of(DATASET)
    cached = [path.name for path in home.rglob("*")]
    assert "model.safetensors" in cached
    assert not any(name.endswith(".pth") for name in cached)

    # once more without the network: the model is in the client's cache, the text was streamed
    code = """
from sdlcore.extraction import hub, models
print(models.find_checkpoint(MODEL))
hub.dataset_commit(DATASET, None)
"""
    code = code.replace("MODEL", repr(MODEL)).replace("DATASET", repr(DATASET))
    done = run(["-c", code], address, home, HF_HUB_OFFLINE="1")
    assert Path(done.stdout.strip()).name == commit_of(MODEL), done.stderr
    assert re.search(rf"SourceError: {DATASET}: .*offline", last_line(done))


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode
    return done.stderr.strip().splitlines()[-1]


STREAM = """
import json, sys
from sdlcore.extraction.text import opened_text
from sdlcore.extraction.config import TextOptions
text = opened_text(sys.argv[1], TextOptions(config="sample-10BT", shuffle_buffer=8))
whole = list(text.documents())
again = list(opened_text(sys.argv[1], TextOptions(config="sample-10BT", shuffle_buffer=8)).documents(50))
print(json.dumps([whole, again]))
"""


@pytest.mark.slow
def test_a_data_set_is_streamed_in_one_order_from_any_place_on(hub: tuple[str, Path], tmp_path: Path):
    done = run(["-c", BRISK + STREAM, f"dataset:{DATASET}"], hub[0], tmp_path)
    assert done.returncode == 0, done.stderr
    whole, again = json.loads(done.stdout)
    assert sorted(text for _, _, text in whole) == sorted(documents(90))
    assert sorted(index for _, index, _ in whole) == list(range(90))
    assert [text for _, _, text in whole] != documents(90)
    assert again == whole[50:]


REFUSED = {
    "gated": (GATED, {}, rf"{GATED}: .*GatedRepoError: .*access"),
    "missing": ("nobody/nothing", {}, r"nobody/nothing: no such path on this machine"),
    "revision": (MODEL, {"revision": "v9"}, rf"{MODEL}: .*RevisionNotFoundError"),
    "no data set": (MODEL, {"text": "dataset:nobody/text"}, "nobody/text: .*RepositoryNotFoundError"),
    "no configuration": (MODEL, {"text_config": "sample-1T"}, f"{DATASET}: .*sample-1T.*sample-10BT"),
    "no column": (MODEL, {"text_column": "body"}, f"{DATASET}: has no text in column 'body', only text, id"),
}
"""Request -> model, settings and the expected error."""
REFUSING = """
import json, sys
from sdlcore.extraction.models import find_checkpoint
from sdlcore.extraction.text import opened_text
from sdlcore.extraction.config import TextOptions
from sdlcore.errors import SourceError
said = {}
for name, (model, settings) in json.loads(sys.argv[1]).items():
    try:
        find_checkpoint(model, settings.pop("revision", None))
        text = settings.pop("text", sys.argv[2])
        options = {key.removeprefix("text_"): value for key, value in settings.items()}
        next(opened_text(text, TextOptions(**{"config": "sample-10BT", **options})).documents())
        said[name] = "nothing"
    except SourceError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


@pytest.mark.slow
def test_what_the_hub_does_not_provide_is_refused_in_a_sentence(hub: tuple[str, Path]):
    requests = {name: (model, settings) for name, (model, settings, _) in REFUSED.items()}
    done = run(["-c", BRISK + REFUSING, json.dumps(requests), f"dataset:{DATASET}"], *hub)
    assert done.returncode == 0, done.stderr
    messages = json.loads(done.stdout)
    for name, (_, _, sentence) in REFUSED.items():
        assert re.search(sentence, messages[name], flags=re.DOTALL), f"{name}: {messages[name]}"


def test_a_path_that_is_wrong_does_not_wait_for_a_hub_that_cannot_be_reached(tmp_path: Path):
    code = """
import time
from sdlcore.extraction.models import load_any
time.sleep = None  # a retry would be another error
load_any("models/llama")
"""
    done = run(["-c", code], "http://127.0.0.1:9", tmp_path)
    assert "SourceError: models/llama: no such path on this machine, and the hub does not provide it" in last_line(done)
