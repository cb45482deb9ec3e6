"""Damaged dictionaries, checkpoints, anchors and references are rejected."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from sdlcore.config import Config
from sdlcore.data.anchors import Anchors, load_anchors, save_anchors
from sdlcore.data.references import References, load_references, save_references
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_model, save_model
from sdlcore.random_streams import torch_stream
from sdlcore.storage.checksums import read_with_checksum, write_with_checksum
from sdlcore.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

W = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0].astype(np.float32)


def write_model(path: Path) -> None:
    config = Config.from_dict({"activation": "topk", "k": 2, "n_q": 8})
    save_model(path, SparseCoder.from_config(config.model, (6,), (6,), torch_stream(0, "x")), {"made": "here"})


FILES = {
    "model": (write_model, load_model),
    "checkpoint": (
        lambda path: save_checkpoint(
            path, Checkpoint(7, 0.1, [{"step": 7.0}], {"a": torch.eye(5), "b": torch.tensor(3)})
        ),
        lambda path: load_checkpoint(path),
    ),
    "anchors": (lambda path: save_anchors(path, Anchors(W.T[:2], feature=np.arange(2)), {"seed": 1}), load_anchors),
    "references": (lambda path: save_references(path, References(W, W), {"seed": 1}), load_references),
}


@pytest.mark.parametrize("what", FILES)
def test_whatever_bit_is_flipped_and_wherever_it_was_cut_off_the_file_is_refused_by_its_name(what: str, tmp_path: Path):
    path = tmp_path / f"{what}.safetensors"
    write, load = FILES[what]
    write(path)
    load(path)
    content, rng = path.read_bytes(), random.Random(0)
    places = [*range(8), *(rng.randrange(len(content)) for _ in range(300))]
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :])
        with pytest.raises(ValueError, match=path.name):
            load(path)
    for size in (0, 1, 7, 8, 9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=path.name):
            load(path)


def test_numbers_of_torch_and_of_numpy_are_the_same_numbers(tmp_path: Path):
    for dtype in (np.float32, np.float64, np.int64, np.bool_):
        values = np.asarray(W > 0 if dtype == np.bool_ else W * 9).astype(dtype)
        write_with_checksum(tmp_path / "numpy", {"x": values}, {})
        write_with_checksum(tmp_path / "torch", {"x": torch.from_numpy(values)}, {})
        assert (tmp_path / "numpy").read_bytes() == (tmp_path / "torch").read_bytes()
        np.testing.assert_array_equal(read_with_checksum(tmp_path / "numpy", framework="pt")[1]["x"].numpy(), values)


def test_equal_contents_are_equal_files(tmp_path: Path):
    for what, (write, _) in FILES.items():
        for name in ("a", "b"):
            write(tmp_path / f"{what}-{name}")
        assert (tmp_path / f"{what}-a").read_bytes() == (tmp_path / f"{what}-b").read_bytes()
