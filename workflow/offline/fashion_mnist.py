"""Make an image folder with 90 fine classes from Fashion-MNIST: real product photos that are available without a hub.

A class is a garment with two adjectives. The ten garments are the labels of Fashion-MNIST. The adjectives are measured,
not labelled: brightness (dark, grey, bright) and texture (plain, textured, patterned). They are terciles, within each
garment over the training images used, of the mean brightness and the mean gradient of the garment's pixels. A small
model can learn these classes and a person can check them, but nobody labelled a shoe "patterned".

The data (MIT licence) come from Debian's package ``dataset-fashion-mnist`` if it is installed or apt can download it,
which needs no root access. Otherwise torchvision downloads them.
"""

import gzip
import hashlib
import logging
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sdlcore import SourceError
from sdlcore.identity import NUMBERS, provenance
from sdlcore.storage.files import write_json

log = logging.getLogger(__name__)

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
SIDE = 28
GARMENTS = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
BRIGHTNESS = ("dark", "grey", "bright")
TEXTURE = ("plain", "textured", "patterned")
# of the unpacked files, since Debian recompressed them
SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
PREFIXES = {"train": "train", "test": "t10k"}
# time limit of a download, for mirrors that hang
SECONDS = 600


class Pictures(NamedTuple):
    """Pictures (N x 28 x 28, uint8, black background) and their garments (N, uint8)."""

    pictures: np.ndarray
    garments: np.ndarray


class Terciles(NamedTuple):
    """Boundaries (10 garments x 2) between the terciles of brightness and of texture."""

    brightness: np.ndarray
    texture: np.ndarray


def tree_name(train_images: int, test_images: int) -> str:
    """Return the name of the cache folder for `make_tree`."""
    return f"fashion_mnist_{train_images}_{test_images}-{NUMBERS['fashion_mnist']}"


def make_tree(out_dir: Path, by_hand: str | Path, train_images: int, test_images: int) -> None:
    """Write Fashion-MNIST as PNG files, ``<out_dir>/{train,test}/<class>/<index>.png``.

    All 90 classes have a folder in both parts, which may be empty. ``provenance.json`` beside them records the origin
    of the data and the boundaries of the terciles.

    Parameters
    ----------
    out_dir
        Folder to create.
    by_hand
        Folder to search first for the four files, for machines without downloads.
    train_images, test_images
        Number of images, from the start of the files.

    Raises
    ------
    SourceError
        If the data cannot be found or downloaded, or a checksum differs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, where = obtain(by_hand, Path(scratch))
        data = {split: read_pictures(folder, prefix) for split, prefix in PREFIXES.items()}
    image_counts = {"train": train_images, "test": test_images}
    for split, number in image_counts.items():
        if number > len(data[split].pictures):
            raise SourceError(
                f"Fashion-MNIST has {len(data[split].pictures)} images for {split}, but {number} were requested"
            )
        data[split] = Pictures(*(values[:number] for values in data[split]))
    terciles = measure_terciles(data["train"])
    for split, pictures in data.items():
        _write_pictures(out_dir / split, pictures, class_folders(pictures, terciles))
    facts = provenance(
        data=where,
        sha256=SHA256,
        images=image_counts,
        terciles={name: borders.tolist() for name, borders in terciles._asdict().items()},
    )
    write_json(out_dir / "provenance.json", facts)
    log.info("%s: %d + %d images in %d classes", out_dir, train_images, test_images, len(all_class_folders()))


def all_class_folders() -> list[str]:
    """Return the names of the 90 class folders."""
    garments = [garment.replace(" ", "_") for garment in GARMENTS]
    return [f"{b}_{t}_{garment}" for garment in garments for b in BRIGHTNESS for t in TEXTURE]


def class_folders(data: Pictures, terciles: Terciles) -> list[str]:
    """Return the class folder of each picture."""
    brightness = _third(mean_brightness(data.pictures), terciles.brightness[data.garments])
    texture = _third(mean_gradient(data.pictures), terciles.texture[data.garments])
    index = (data.garments.astype(int) * len(BRIGHTNESS) + brightness) * len(TEXTURE) + texture
    names = all_class_folders()
    return [names[i] for i in index]


def measure_terciles(data: Pictures) -> Terciles:
    """Compute the boundaries between terciles within each garment; zeros for a garment without pictures."""
    borders = []
    for values in (mean_brightness(data.pictures), mean_gradient(data.pictures)):
        garment_borders = np.zeros((len(GARMENTS), 2))
        for garment in np.unique(data.garments):
            garment_borders[garment] = np.quantile(values[data.garments == garment], [1 / 3, 2 / 3])
        borders.append(garment_borders)
    return Terciles(*borders)


def mean_brightness(pictures: np.ndarray) -> np.ndarray:
    """Return the mean of the nonzero pixels of each picture, which show the garment; 0 if there are none."""
    inside = pictures > 0
    return _mean([pictures], [inside])


def mean_gradient(pictures: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of neighbouring pixels (right and below) within each garment.

    Differences across the outline do not count, since they depend on a garment's size and brightness.
    """
    signed, inside = pictures.astype(np.int16), pictures > 0
    differences = [np.abs(np.diff(signed, axis=axis)) for axis in (2, 1)]
    return _mean(differences, [inside[:, :, 1:] & inside[:, :, :-1], inside[:, 1:] & inside[:, :-1]])


def _mean(values: list[np.ndarray], where: list[np.ndarray]) -> np.ndarray:
    """Return the mean of the chosen values of each picture; 0 without chosen values."""
    total = sum((v * w).sum(axis=(1, 2), dtype=np.int64) for v, w in zip(values, where, strict=True))
    mean: np.ndarray = total / np.maximum(sum(w.sum(axis=(1, 2)) for w in where), 1)
    return mean


def _third(values: np.ndarray, borders: np.ndarray) -> np.ndarray:
    return (values[:, None] > borders).sum(axis=1)


def _write_pictures(folder: Path, data: Pictures, folders: list[str]) -> None:
    for name in all_class_folders():
        (folder / name).mkdir(parents=True)
    for index, (picture, name) in enumerate(zip(data.pictures, folders, strict=True)):
        Image.fromarray(picture).save(folder / name / f"{index:05d}.png", compress_level=1)


def read_pictures(folder: Path, prefix: str) -> Pictures:
    """Return the pictures and labels of ``train`` or ``t10k``, from gzipped files in the format of MNIST.

    The first 16 bytes of pictures and the first 8 of labels are their sizes; `obtain` checks the content.
    """
    packed = (folder / f"{prefix}-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1"))
    pictures, garments = (gzip.decompress(path.read_bytes()) for path in packed)
    return Pictures(
        np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, SIDE, SIDE),
        np.frombuffer(garments, np.uint8, offset=8),
    )


def obtain(by_hand: str | Path, scratch: Path, installed: Path = INSTALLED) -> tuple[Path, str]:
    """Find or download the four files; return their folder and their origin, after checking their checksums.

    Three places are tried in this order: the folder ``by_hand``; Debian's package, installed or downloaded by apt-get
    into ``scratch``, which needs no root access; torchvision's download.

    Raises
    ------
    SourceError
        If all of these fail, with the reason for each, or if a checksum differs.
    """
    for folder, where in ((Path(by_hand), f"the folder {by_hand}"), (installed, f"Debian's package {PACKAGE}")):
        if all((folder / name).is_file() for name in SHA256):
            return _checked(folder), where
    failures = []
    ways: dict[str, Callable[[Path], Path]] = {f"Debian's package {PACKAGE}": _apt, "torchvision": _torchvision}
    for where, way in ways.items():
        try:
            folder = way(scratch)
        except Exception as error:  # different tools raise many kinds
            failures.append(f"{where}: {error}")
            continue
        return _checked(folder), where
    raise SourceError(
        f"Fashion-MNIST cannot be obtained; install Debian's package {PACKAGE}, or put the files {', '.join(SHA256)} "
        f"into {by_hand} by hand. Tried: {'; '.join(failures)}"
    )


def _apt(scratch: Path) -> Path:
    # own package lists, since the system's lists are often missing in containers and only root may update them
    options = [
        *("-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}/cache"),
        *("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20", "-o", "APT::Sandbox::User="),
    ]
    for folder in ("lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    try:
        _call("apt-get", "download", PACKAGE, where=scratch)
    except subprocess.CalledProcessError:
        _call("apt-get", *options, "update", where=scratch)
        _call("apt-get", *options, "download", PACKAGE, where=scratch)
    (package,) = scratch.glob(f"{PACKAGE}_*.deb")
    _call("dpkg-deb", "-x", str(package), str(scratch / "debian"), where=scratch)
    return scratch / "debian" / INSTALLED.relative_to("/")


def _call(*command: str, where: Path) -> None:
    subprocess.run(command, cwd=where, capture_output=True, timeout=SECONDS, check=True)


def _torchvision(scratch: Path) -> Path:
    from torchvision.datasets import FashionMNIST  # imported here, since the other ways do not need it

    for train in (True, False):
        FashionMNIST(str(scratch), train=train, download=True)
    return scratch / "FashionMNIST/raw"


def _checked(folder: Path) -> Path:
    """Return the folder; an error if a file in it is not the pinned one."""
    for name, sha256 in SHA256.items():
        digest = content_sha256(folder / name)
        if digest != sha256:
            raise SourceError(
                f"{folder / name}: SHA-256 of its content is {digest}, but {sha256} is pinned; fetch it again"
            )
    return folder


def content_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a gzipped file's unpacked content."""
    return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
