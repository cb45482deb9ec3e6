"""Image folders and a CLIP for tests, made here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sdlcore.random_streams import stream

ARCHITECTURE = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 24, "patch_size": 8, "head_width": 12},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
# the error of each file in the damaged folder
DAMAGED = {
    "a_cat/truncated.jpg": "OSError: image file is truncated",
    "a_cat/words.jpg": "UnidentifiedImageError: cannot identify image file 'words.jpg'",
    "dog/zero bytes.png": "UnidentifiedImageError: cannot identify image file 'zero bytes.png'",
}


class ClipFiles(NamedTuple):
    """Files of a CLIP with random weights."""

    architecture: str
    weights: str


def picture(*names: str | int, size: tuple[int, int] = (20, 17)) -> Image.Image:
    """Return a small picture with structure that depends only on the names."""
    pixels = stream(0, *names).integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def make_folder() -> Callable[[Path], Path]:
    """Write three classes, one of them empty, with nine images in several formats."""

    def make(root: Path) -> Path:
        for name in ("zebra", "dog", "a_cat/deeper", "an_empty_class"):
            (root / name).mkdir(parents=True)
        for index in range(3):
            picture("zebra", index).save(root / f"zebra/{index}.png")
            picture("dog", index, size=(30, 16)).save(root / f"dog/{index}.JPEG", quality=95)
        picture("cat", 0).save(root / "a_cat/0.bmp")
        picture("cat", 1).save(root / "a_cat/deeper/1.webp")
        picture("cat", 2, size=(1, 1)).save(root / "a_cat/one pixel.png")
        (root / "zebra/readme.txt").write_text("not an image, by its name")
        return root

    return make


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[[Path], Path]) -> Path:
    return make_folder(tmp_path_factory.mktemp("images") / "whole")


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[[Path], Path]) -> Path:
    """The same folder with three more files that look like images."""
    root = make_folder(tmp_path_factory.mktemp("images") / "damaged")
    picture("truncated", size=(200, 200)).save(root / "a_cat/truncated.jpg", quality=95)
    whole = (root / "a_cat/truncated.jpg").read_bytes()
    (root / "a_cat/truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "a_cat/words.jpg").write_text("this is a text file")
    (root / "dog/zero bytes.png").touch()
    return root


@pytest.fixture(scope="session")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> ClipFiles:
    """A CLIP of two blocks with random weights."""
    where = tmp_path_factory.mktemp("clip")
    architecture = where / "a-clip-for-tests.json"
    architecture.write_text(json.dumps(ARCHITECTURE))
    open_clip.add_model_config(architecture)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(architecture.stem)
        torch.nn.init.normal_(model.visual.ln_post.bias)  # not the identity, as after training
    save_file(model.state_dict(), where / "random.safetensors")
    return ClipFiles(str(architecture), str(where / "random.safetensors"))
