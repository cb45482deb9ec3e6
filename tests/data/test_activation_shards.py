"""Activations that another engine wrote as shards."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file

import sdlcore as sdl
from sdlcore.data import activation_shards
from sdlcore.errors import SourceError
from sdlcore.storage.files import sha256_of

X = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32))
TOKEN = torch.arange(30)
BOUNDS = ((0, 12), (12, 13), (13, 30))


def write(folder, ending=".safetensors", dtype=torch.float32, **changes):
    """Write three shards with input, target and two references, and their manifest."""
    folder.mkdir()
    shards = []
    for number, (start, stop) in enumerate(BOUNDS):
        path = folder / f"acts-{number:05}{ending}"
        columns = {
            "input": X[start:stop].to(dtype),
            "target": X[start:stop, :4].to(dtype).clone(memory_format=torch.contiguous_format),
        }
        numbers = {"token": TOKEN[start:stop], "labels": TOKEN[start:stop] % 3}
        if ending == ".parquet":
            arrays = {
                name: pa.FixedSizeListArray.from_arrays(x.flatten().numpy(), x.shape[1]) for name, x in columns.items()
            }
            pyarrow.parquet.write_table(pa.table(arrays | {name: x.numpy() for name, x in numbers.items()}), path)
        else:
            save_file(columns | numbers, path)
        shards.append({"file": path.name, "rows": stop - start})
    kind = str(dtype).removeprefix("torch.")
    manifest = {
        "format": "activation shards",
        "version": 1,
        "columns": {"input": {"width": 6, "dtype": kind}, "target": {"width": 4, "dtype": kind}},
        "numbers": ["token", "labels"],
        "shards": shards,
        "made_by": {"engine": "another 1.0"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return manifest


@pytest.mark.parametrize(
    ("ending", "dtype"),
    [
        (".safetensors", torch.float32),
        (".safetensors", torch.bfloat16),
        (".parquet", torch.float16),
    ],
)
def test_shards_become_a_store_that_trainings_take(ending, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(activation_shards, "ROWS_AT_ONCE", 5)
    write(tmp_path / "acts", ending, dtype)
    with sdl.import_activations(tmp_path / "acts", tmp_path / "acts.h5") as store:
        assert np.array_equal(store.read("input").astype(np.float32), X.to(dtype).float())
        assert np.array_equal(store.read("target").astype(np.float32), X[:, :4].to(dtype).float())
        assert np.array_equal(store.read("references/token"), TOKEN)
        assert np.array_equal(store.read("labels"), TOKEN % 3)
        assert store.provenance["made_by"] == {"engine": "another 1.0"}
        sae = sdl.fit(store, pair="transcoder", n_q=8, activation="topk", k=2, batch_size=10, steps=2, progress=False)
    assert sae.W_dec.shape == (8, 4)


def test_a_finished_store_is_opened_and_one_that_was_cut_off_resumed(tmp_path, monkeypatch):
    write(tmp_path / "acts")
    blocks, read = activation_shards._blocks, []

    def cut_off(path, manifest):
        read.append(path.name)
        if len(read) == 2:
            raise KeyboardInterrupt
        yield from blocks(path, manifest)

    monkeypatch.setattr(activation_shards, "_blocks", cut_off)
    with pytest.raises(KeyboardInterrupt):
        sdl.import_activations(tmp_path / "acts", tmp_path / "acts.h5")
    with sdl.import_activations(tmp_path / "acts", tmp_path / "acts.h5") as store:
        assert np.array_equal(store.read("input"), X)
    assert read == [f"acts-{number:05}.safetensors" for number in (0, 1, 1, 2)]
    sdl.import_activations(tmp_path / "acts", tmp_path / "acts.h5").close()
    assert len(read) == 4
    write(tmp_path / "others", dtype=torch.float16)
    with pytest.raises(ValueError, match=r"acts\.h5 belongs to another run: inputs\.manifest is "):
        sdl.import_activations(tmp_path / "others", tmp_path / "acts.h5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"manifest\.json: .*version: "),
        ({"columns": {}}, "columns: expected input"),
        (
            {"columns": {"input": {"width": 7, "dtype": "float32"}}},
            r"acts-00000\.safetensors: a row of input has the shape \(6,\), expected \(7,\)",
        ),
        ({"numbers": ["words"]}, "acts-00000.safetensors: not readable as a shard"),
        ({"shards": [{"file": "../x.safetensors", "rows": 1}]}, r"shards\.0\.file: "),
        ({"shards": [{"file": "acts-00000.safetensors", "rows": 9}]}, "has 12 rows, but manifest.json says 9"),
        ({"shards": [{"file": "acts-00000.safetensors", "rows": 12, "sha256": "0"}]}, "does not fit its checksum"),
    ],
)
def test_what_is_wrong_is_named(changes, message, tmp_path):
    write(tmp_path / "acts", **changes)
    with pytest.raises(SourceError, match=message):
        sdl.import_activations(tmp_path / "acts", tmp_path / "acts.h5")
    assert not (tmp_path / "acts.h5").exists()


def test_checksums_of_a_manifest_are_compared(tmp_path):
    manifest = write(tmp_path / "acts")
    for shard in manifest["shards"]:
        shard["sha256"] = sha256_of(tmp_path / "acts" / shard["file"])
    (tmp_path / "acts/manifest.json").write_text(json.dumps(manifest))
    with sdl.import_activations(tmp_path / "acts", tmp_path / "acts.h5") as store:
        assert store.rows == 30
