"""Training a small CLIP on pictures whose classes are their colours."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from offline.settings import ClipTraining
from offline.training import train_clip
from sdlcore.data.reading import ActivationStore
from sdlcore.errors import SourceError
from sdlcore.extraction.clip import write_image_stores
from sdlcore.extraction.config import ClipSource
from sdlcore.random_streams import stream
from tests.extraction.conftest import ClipFiles

COLOURS = {"red_square": (200, 30, 30), "green_square": (30, 200, 30), "blue_circle": (30, 30, 200)}
TRAINING = ClipTraining(steps=40, batch_size=16, lr=3e-3)


def write_colours(root: Path, images: int) -> Path:
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for index in range(images):
            noise = stream(0, root.name, name, index).normal(0, 30, size=(16, 16, 3))
            Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
    (root / "empty_class").mkdir()
    return root


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    where = tmp_path_factory.mktemp("colours")
    return write_colours(where / "train", 20), write_colours(where / "test", 8)


def train(colours: tuple[Path, Path], files: ClipFiles, out: Path, training: ClipTraining = TRAINING) -> dict[str, Any]:
    weights, metrics = out / "model.safetensors", out / "metrics.json"
    train_clip(training, files.architecture, *colours, weights, metrics, threads=2)
    scores: dict[str, Any] = json.loads(metrics.read_text())
    return scores


@pytest.fixture(scope="module")
def trained(
    colours: tuple[Path, Path], clip_files: ClipFiles, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("trained")
    return out, train(colours, clip_files, out)


def test_it_learns_to_tell_the_classes_by_their_captions(trained: tuple[Path, dict[str, Any]]):
    metrics = trained[1]
    assert metrics["zero_shot"]["classes"] == 4
    assert metrics["zero_shot"]["top1"] > 0.9
    assert metrics["loss"] < 0.9 * metrics["chance_loss"]


def test_the_same_call_loads_it_as_any_other_weights(trained, colours, clip_files, tmp_path):
    weights = str(trained[0] / "model.safetensors")
    model, _, _ = open_clip.create_model_and_transforms(Path(clip_files.architecture).stem, pretrained=weights)
    for name, value in load_file(weights).items():
        assert torch.equal(model.state_dict()[name], value)
    source = ClipSource("colours", clip_files.architecture, weights)
    paths = [tmp_path / name for name in ("train.h5", "test.h5", "skipped.csv")]
    write_image_stores(source, *colours, {"train": paths[0], "test": paths[1]}, paths[2])
    with ActivationStore(paths[1]) as store:
        x, labels = store.read("input").astype(float), store.read("labels")
        assert store.class_names() == ["blue circle", "empty class", "green square", "red square"]
    means = np.stack([x[labels == label].mean(axis=0) for label in (0, 2, 3)])
    nearest = np.linalg.norm(x[:, None] - means, axis=2).argmin(axis=1)
    assert np.mean(np.array([0, 2, 3])[nearest] == labels) > 0.9


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes(trained, colours, clip_files, tmp_path):
    before = torch.random.get_rng_state()
    train(colours, clip_files, tmp_path / "same")
    assert torch.equal(torch.random.get_rng_state(), before)
    whole = (trained[0] / "model.safetensors").read_bytes()
    assert (tmp_path / "same/model.safetensors").read_bytes() == whole
    train(colours, clip_files, tmp_path / "other", ClipTraining(steps=40, batch_size=16, lr=3e-3, seed=1))
    one, other = (load_file(path / "model.safetensors") for path in (trained[0], tmp_path / "other"))
    assert not torch.equal(one["visual.proj"], other["visual.proj"])


def test_too_few_images_and_other_classes_are_refused(colours, clip_files, tmp_path):
    with pytest.raises(SourceError, match=r"has 60 readable images, fewer than training.batch_size 61"):
        train(colours, clip_files, tmp_path, ClipTraining(batch_size=61))
    (write_colours(tmp_path / "test", 1) / "empty_class").rmdir()
    with pytest.raises(SourceError, match=r"its class folders differ from .*; empty_class is in only one of the two"):
        train((colours[0], tmp_path / "test"), clip_files, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
