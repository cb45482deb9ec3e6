"""Fashion-MNIST: its file format, the folder tree made from it, and (marked registry) the real data."""

import gzip
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offline import fashion_mnist
from offline.fashion_mnist import (
    GARMENTS,
    SHA256,
    Pictures,
    all_class_folders,
    class_folders,
    content_sha256,
    make_tree,
    mean_brightness,
    mean_gradient,
    measure_terciles,
    obtain,
    read_pictures,
)
from sdlcore.errors import SourceError
from sdlcore.extraction.images import list_images
from sdlcore.random_streams import stream
from tests.conftest import script


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        file.write(header + values.tobytes())


def some_pictures(split: str, number: int) -> Pictures:
    """Return patches with random brightness and contrast."""
    rng = stream(0, "fashion", split)
    level, contrast = rng.uniform(40, 200, size=(2, number, 1, 1))
    pictures = np.clip(level + contrast * rng.normal(size=(number, 28, 28)) / 4, 0, 255).astype(np.uint8)
    return Pictures(pictures, rng.integers(0, 10, size=number).astype(np.uint8))


@pytest.fixture
def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four small files in the original format, with their checksums in place of the real ones."""
    folder = tmp_path / "by hand"
    folder.mkdir()
    for prefix, number in (("train", 300), ("t10k", 50)):
        pictures, garments = some_pictures(prefix, number)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", pictures)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", garments)
    for name in SHA256:
        monkeypatch.setitem(SHA256, name, content_sha256(folder / name))
    return folder


def test_brightness_and_gradient_are_those_of_the_garment():
    black, flat, small, stripes = np.zeros((4, 28, 28), dtype=np.uint8)
    flat[:, :] = 100
    small[10:15, 10:15] = 100  # neither background nor outline counts
    stripes[:, ::2], stripes[:, 1::2] = 50, 150
    pictures = np.stack([black, flat, small, stripes])
    assert mean_brightness(pictures).tolist() == [0, 100, 100, 100]
    # half of the neighbours are vertical, with equal values
    assert mean_gradient(pictures).tolist() == [0, 0, 0, 50]
    assert mean_gradient(pictures.transpose(0, 2, 1)).tolist() == [0, 0, 0, 50]


def test_the_tree_is_an_image_folder_of_90_classes(by_hand: Path, tmp_path: Path):
    make_tree(tmp_path / "tree", by_hand, 250, 50)
    data = read_pictures(by_hand, "train")
    folders = {split: list_images(tmp_path / "tree" / split) for split in ("train", "test")}
    assert [len(folder.paths) for folder in folders.values()] == [250, 50]
    for folder in folders.values():
        assert sorted(folder.classes) == sorted(all_class_folders())
        assert len(folder.classes) == 90
    assert "dark plain ankle boot" in folders["train"].class_names
    for path, label in zip(folders["train"].paths, folders["train"].labels, strict=True):
        index = int(Path(path).stem)
        with Image.open(folders["train"].root / path) as image:
            assert np.array_equal(np.asarray(image), data.pictures[index])
        assert folders["train"].class_names[label].endswith(f" {GARMENTS[data.garments[index]]}")
    facts = json.loads((tmp_path / "tree/provenance.json").read_text())
    assert facts["data"] == f"the folder {by_hand}"
    assert facts["images"] == {"train": 250, "test": 50}
    terciles = measure_terciles(Pictures(data.pictures[:250], data.garments[:250]))
    assert facts["terciles"]["texture"] == terciles.texture.tolist()


def test_checkouts_with_one_cache_share_the_tree_and_leave_it(by_hand: Path, tmp_path: Path):
    make = partial(script("fashion_mnist"), train_images=20, test_images=10, cache=tmp_path / "cache")
    links = [tmp_path / name / "results/images" for name in ("first", "second")]
    make(by_hand=by_hand, output=links[0])
    before = {path: path.stat().st_mtime_ns for path in links[0].rglob("*")}
    make(by_hand=tmp_path / "nothing", output=links[1])
    assert {path: path.stat().st_mtime_ns for path in links[0].rglob("*")} == before
    assert links[0].resolve() == links[1].resolve() == tmp_path / "cache/fashion_mnist_20_10-1"
    links[1].unlink()  # as Snakemake does
    assert len(list_images(links[0] / "train").paths) == 20


def test_where_nothing_works_the_error_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(_: Path) -> Path:
        raise OSError("no network")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(fashion_mnist, "_torchvision", fails)
    with pytest.raises(SourceError, match=r"Fashion-MNIST cannot be obtained; install Debian's .*torchvision: no net"):
        obtain(tmp_path / "by hand", tmp_path, tmp_path / "empty")


def test_a_wrong_checksum_is_an_error(by_hand: Path, tmp_path: Path):
    write_idx(by_hand / "t10k-labels-idx1-ubyte.gz", np.zeros(50, dtype=np.uint8))
    with pytest.raises(SourceError, match=r"t10k-labels-idx1-ubyte\.gz: SHA-256 of its content is \w+, but \w+ is"):
        obtain(by_hand, tmp_path)


@pytest.mark.slow
@pytest.mark.registry
def test_the_real_data_come_from_apt_and_are_what_is_pinned(tmp_path: Path):
    """A download without privileges to a user's folder, not the files of an installed package."""
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get on this machine")
    folder, where = obtain(tmp_path / "nothing by hand", tmp_path, tmp_path / "empty")
    assert where in ("Debian's package dataset-fashion-mnist", "torchvision")
    train, test = (read_pictures(folder, prefix) for prefix in ("train", "t10k"))
    assert (len(train.pictures), len(test.pictures)) == (60000, 10000)
    assert np.bincount(train.garments).tolist() == [6000] * 10
    counts = np.unique(class_folders(train, measure_terciles(train)), return_counts=True)[1]
    assert len(counts) == 90
    assert counts.min() > 200
