"""Image folders: which files count as images, and the treatment of unreadable files."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from sdlcore.extraction.images import SUFFIXES, decoded_images, list_images
from tests.extraction.conftest import DAMAGED, picture

PATHS = [
    *("a_cat/0.bmp", "a_cat/deeper/1.webp", "a_cat/one pixel.png"),
    *("dog/0.JPEG", "dog/1.JPEG", "dog/2.JPEG"),
    *("zebra/0.png", "zebra/1.png", "zebra/2.png"),
]


def shrink(image: Image.Image) -> torch.Tensor:
    return pil_to_tensor(image.convert("RGB").resize((8, 8)))


def test_images_are_listed_by_class_and_name(folder: Path, caplog: pytest.LogCaptureFixture):
    listing = list_images(folder)
    assert listing.paths == PATHS
    assert listing.classes == ["a_cat", "an_empty_class", "dog", "zebra"]
    assert listing.class_names == ["a cat", "an empty class", "dog", "zebra"]
    assert listing.labels.tolist() == [0, 0, 0, 2, 2, 2, 3, 3, 3]


# a .pfm file holds floats, for which white is undefined
SAVED = sorted(suffix for suffix, name in SUFFIXES.items() if name in Image.SAVE and suffix != ".pfm")


@pytest.mark.parametrize("suffix", SAVED)
def test_every_format_that_counts_is_read(suffix: str, tmp_path: Path):
    (tmp_path / "class").mkdir()
    image = picture("any", size=(32, 32))
    image = image.convert({".xbm": "1", ".msp": "1"}.get(suffix, "RGB"))
    image = image.convert("P") if SUFFIXES[suffix] == "BLP" else image
    image.save(tmp_path / f"class/image{suffix}")
    (batch,) = decoded_images(list_images(tmp_path), np.arange(1), shrink, batch_size=4)
    assert batch.images is not None
    assert batch.images.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_skipped_with_its_reason(workers: int, damaged: Path):
    listing = list_images(damaged)
    order = np.arange(len(listing.paths))[::-1]
    batches = list(decoded_images(listing, order, shrink, batch_size=5, workers=workers))
    skipped = dict(entry for batch in batches for entry in batch.skipped)
    assert skipped.keys() == DAMAGED.keys()
    for path, reason in DAMAGED.items():
        assert skipped[path].startswith(reason)
    rows = [index for batch in batches for index in batch.indices]
    assert rows == [index for index in order if listing.paths[index] not in DAMAGED]
    images = torch.cat([batch.images for batch in batches if batch.images is not None])
    for index, image in zip(rows, images, strict=True):
        with Image.open(damaged / listing.paths[index]) as expected:
            assert torch.equal(image, shrink(expected))


def test_links_are_followed_and_a_broken_one_cannot_be_read(tmp_path: Path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for where in (root / "class", outside):
        where.mkdir(parents=True)
        picture("any").save(where / "image.png")
    (root / "class/out.png").symlink_to(outside / "image.png")
    (root / "class/nothing.png").symlink_to("missing.png")
    (root / "linked_class").symlink_to(outside)
    os.mkfifo(root / "class/pipe.png")
    listing = list_images(root)
    assert listing.paths == ["class/image.png", "class/nothing.png", "class/out.png", "linked_class/image.png"]
    (batch,) = decoded_images(listing, np.arange(4), shrink, batch_size=4)
    assert batch.indices == [0, 2, 3]
    assert batch.skipped[0][1].startswith("FileNotFoundError")


def test_files_in_no_class_folder_are_mentioned(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    shutil.copytree(folder, tmp_path / "root")
    for name in ("b.png", "a.csv", ".hidden"):
        (tmp_path / "root" / name).touch()
    assert list_images(tmp_path / "root").paths == PATHS
    assert "ignored 1 images outside of class folders, such as b.png" in caplog.text


def test_the_thousand_folders_of_imagenet_get_their_names(tmp_path: Path):
    for index in range(1000):
        (tmp_path / f"n{10000000 + index}").mkdir()
    picture("any").save(tmp_path / "n10000000/n10000000_1.JPEG")
    names = list_images(tmp_path).class_names
    assert len(names) == 1000
    assert (names[0], names[1], names[-1]) == ("tench", "goldfish", "toilet paper")
    (tmp_path / "n10000999").rmdir()
    assert list_images(tmp_path).class_names[0] == "n10000000"
