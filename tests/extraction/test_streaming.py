"""Rows that a language model makes while a dictionary is trained on them."""

import json
import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdlcore.data.batches import Request, TrainingRows, starts_of_pairs
from sdlcore.data.reading import ActivationStore
from sdlcore.errors import SourceError
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.language import write_language_stores
from sdlcore.extraction.stream import open_language_stream, write_language_recipe
from sdlcore.extraction.tokens import TokenisedText
from sdlcore.random_streams import stream
from tests.extraction.tiny_llama import documents, save_tiny_llama

SOURCE = LanguageSource("tiny", "words", layer=2, context_length=16, contexts_per_batch=3, test_samples=100)
BUFFER, BATCH = 230, 50  # of which a buffer takes four
ORDER = partial(stream, 0, "order")
STEPS = 1000
"""Steps of a training, which a stream does not need."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.json"
    path.write_text(json.dumps(documents(60)))
    return path


@pytest.fixture(scope="module")
def recipe(model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    write_language_recipe(SOURCE, model, text, folder / "train.json", folder / "test.h5", BUFFER)
    return folder / "train.json"


def opened(recipe: Path, folder: Path, pair: str = "sae", batch: int = BATCH) -> Any:
    return open_language_stream(recipe, Request(pair, batch, 0, STEPS), folder, torch.device("cpu"))


def interrupted(recipe: Path, folder: Path) -> TrainingRows:
    """Return what is opened and never finished, as a killed process leaves it."""
    return opened(recipe, folder).__enter__()


def batches(rows: TrainingRows, steps: range) -> list[np.ndarray]:
    return [rows.batches(step)[0] for step in steps]


def stored(model: Path, text: Path, folder: Path, source: LanguageSource, rows: int) -> ActivationStore:
    """Return a store of the first rows behind the evaluation store's documents."""
    swapped = source.changed(train_samples=source.test_samples, test_samples=rows)
    write_language_stores(swapped, model, text, {"train": folder / "before.h5", "test": folder / "rows.h5"})
    return ActivationStore(folder / "rows.h5")


def test_the_evaluation_store_has_the_first_rows_of_the_text(model: Path, text: Path, recipe: Path, tmp_path: Path):
    write_language_stores(
        SOURCE.changed(train_samples=100), model, text, {"train": tmp_path / "train.h5", "test": tmp_path / "test.h5"}
    )
    with ActivationStore(tmp_path / "train.h5") as first, ActivationStore(recipe.with_name("test.h5")) as evaluation:
        assert evaluation.rows == 100
        np.testing.assert_array_equal(evaluation.read("input"), first.read("input"))
        assert evaluation.provenance["split"] == "test"


@pytest.mark.parametrize("sites", [{"site": "residual"}, {"site": "mlp"}, {"layers": (1, 2, 3)}], ids=str)
def test_buffers_hold_the_rows_that_a_store_would_have(sites: dict, model: Path, text: Path, tmp_path: Path):
    source = SOURCE.changed(**sites)
    recipe, pair = tmp_path / "train.json", "sae" if len(source.sites) == 1 else "crosscoder"
    write_language_recipe(source, model, text, recipe, tmp_path / "test.h5", BUFFER)
    with stored(model, text, tmp_path, source, 600) as store, opened(recipe, tmp_path, pair) as rows:
        columns = [store.read(name) for name in source.sites]
        expected = np.concatenate(columns, axis=1).astype(np.float32)
        assert rows.widths == store.widths
        sample = rows.sample()
        assert sample.rows == 200
        np.testing.assert_array_equal(sample.read("input"), columns[0][:200])
        for buffer in range(3):
            x_p, x_r = zip(*(rows.batches(step) for step in range(4 * buffer, 4 * buffer + 4)), strict=True)
            assert all(x.dtype == np.float32 for x in x_p)
            permuted = expected[200 * buffer : 200 * buffer + 200][ORDER(buffer).permutation(200)]
            np.testing.assert_array_equal(np.concatenate(x_p), permuted)
            np.testing.assert_array_equal(np.concatenate(x_r), permuted)


def test_a_stream_of_pairs_holds_neighbours_and_goes_on_with_the_same_batches(recipe, model, text, tmp_path):
    def paired(folder: Path) -> Any:
        return open_language_stream(recipe, Request("sae", BATCH, 0, STEPS, True), folder, torch.device("cpu"))

    with stored(model, text, tmp_path, SOURCE, 600) as store:
        starts = starts_of_pairs(*(store.read(f"references/{name}") for name in ("document", "position")))
        expected = store.read("input").astype(np.float32)[np.stack([starts, starts + 1], axis=1)]
    with paired(tmp_path / "whole") as rows:
        actual = batches(rows, range(8))
        assert rows.sample().rows == 200
    for buffer in range(2):
        pairs = expected[100 * buffer : 100 * buffer + 100][ORDER(buffer).permutation(100)]
        np.testing.assert_array_equal(np.concatenate(actual[4 * buffer : 4 * buffer + 4]), pairs.reshape(200, -1))
    batches(paired(tmp_path / "again").__enter__(), range(6))
    np.testing.assert_array_equal(batches(paired(tmp_path / "again").__enter__(), range(6, 8)), actual[6:])


def test_where_the_text_ends_it_begins_anew(model: Path, text: Path, tmp_path: Path):
    short = tmp_path / "short.json"
    short.write_text(json.dumps(documents(14)))
    write_language_recipe(SOURCE, model, short, tmp_path / "train.json", tmp_path / "test.h5", 1)
    with opened(tmp_path / "train.json", tmp_path, batch=1) as rows:
        actual = np.concatenate(batches(rows, range(400)))
    period = next(n for n in range(1, 400) if (actual[n:] == actual[:-n]).all())
    assert 20 < period < 200
    assert len(np.unique(actual[:period], axis=0)) == period


@pytest.mark.parametrize("marks", ["kept", "lost", "of another stream"])
def test_a_stream_that_is_opened_again_goes_on_with_the_same_batches(marks: str, recipe: Path, tmp_path: Path):
    with opened(recipe, tmp_path / "whole") as rows:
        expected = batches(rows, range(30))
    assert list((tmp_path / "whole").iterdir()) == [], "what is finished leaves no marks"
    batches(interrupted(recipe, tmp_path / "again"), range(22))
    file = tmp_path / "again/stream.json"
    assert set(range(6)) <= {-(-row // 200) for row, *_ in json.loads(file.read_text())["marks"]}
    if marks == "lost":
        file.unlink()
    elif marks == "of another stream":
        file.write_text(json.dumps({"stream": "another", "marks": [[1000, 40, 0]]}))
    for start in (22, 3):
        actual = batches(interrupted(recipe, tmp_path / "again"), range(start, 30))
        np.testing.assert_array_equal(np.stack(actual), np.stack(expected[start:]))


def test_marks_spare_the_model_the_contexts_before_them(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batches(interrupted(recipe, tmp_path), range(22))
    with opened(recipe, tmp_path) as rows:
        ranges: list[tuple[int, int]] = []
        of = TokenisedText.batches
        monkeypatch.setattr(TokenisedText, "batches", lambda self, *at: ranges.append(at) or of(self, *at))
        rows.batches(14)
        row, *mark = max(mark for mark in json.loads((tmp_path / "stream.json").read_text())["marks"] if mark[0] <= 600)
    assert row > 500
    assert ranges == [tuple(mark)]


def test_damaged_marks_and_recipes_of_another_version_are_refused(recipe: Path, tmp_path: Path):
    (tmp_path / "stream.json").write_text("{")
    with pytest.raises(SourceError, match=r"stream\.json: not readable as marks of a stream .*; remove it"):
        opened(recipe, tmp_path).__enter__()
    other = tmp_path / "train.json"
    other.write_text(json.dumps(json.loads(recipe.read_text()) | {"version": 0}))
    with pytest.raises(SourceError, match=r"train\.json: expected .* of version \d+; make the recipe anew"):
        opened(other, tmp_path).__enter__()


def test_a_model_that_is_not_what_it_was_is_refused(model: Path, text: Path, tmp_path: Path):
    copied = tmp_path / "model"
    shutil.copytree(model, copied)
    write_language_recipe(SOURCE, copied, text, tmp_path / "train.json", tmp_path / "test.h5", BUFFER)
    weights = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(weights[:-4] + b"\0\0\0\0")
    with pytest.raises(SourceError, match=r"train\.json: its model has changed"):
        opened(tmp_path / "train.json", tmp_path).__enter__()


@pytest.mark.slow
def test_several_processes_take_turns_and_read_the_rows_of_one(recipe: Path, tmp_path: Path):
    """Each process runs the model over every other batch of contexts; an odd batch is left over."""
    with opened(recipe, tmp_path / "alone") as rows:
        expected = [rows.batches(step)[0].copy() for step in READ]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TURNS, str(recipe), str(tmp_path / "together"), str(tmp_path / f"{rank}.npy")],
            env=os.environ | address | {"RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    for rank in range(2):
        actual, passes = np.load(tmp_path / f"{rank}.npy"), np.load(tmp_path / f"{rank}.passes.npy")
        assert np.array_equal(actual, np.stack(expected))
        assert 0 < passes[0] < passes[1]  # fewer than there are batches of contexts


READ = (0, 1, 2, 9)
TURNS = """
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from sdlcore.extraction import stream
from tests.extraction.test_streaming import READ, opened

dist.init_process_group("gloo")
started, given = [], []
run, exchange = stream.TextStream._run, dist.all_gather_object
stream.TextStream._run = lambda self, tokens: started.append(tokens) or run(self, tokens)
dist.all_gather_object = lambda batches, *call: given.extend(batches) or exchange(batches, *call)
with opened(Path(sys.argv[1]), Path(sys.argv[2])) as rows:
    np.save(sys.argv[3], np.stack([rows.batches(step)[0] for step in READ]))
np.save(sys.argv[3].replace(".npy", ".passes.npy"), [len(started), len(given)])
dist.destroy_process_group()
"""
