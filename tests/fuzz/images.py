"""Image folders with two images each, read as for a CLIP model.

Two different images never become the same pixels, unless one of them is listed as skipped. A plain image is read
correctly. Every file with an image's suffix is either read or listed.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from sdlcore.errors import SourceError
from sdlcore.extraction.images import decoded_images, list_images
from tests.fuzz.cases import ACCEPTED, REFUSED, Case, Fault, choose, damage
from tests.fuzz.image_files import KINDS, PLAIN, picture, save

SIZE = 16
"""Size in pixels to which images are scaled; enough to distinguish two images of random patches."""
FAR = 0.08
"""Largest mean difference between a plain image and its pixels, on a range of one; lossy formats round."""


class Made(NamedTuple):
    """A written image file."""

    path: str
    """Relative to the folder."""
    shows: np.ndarray
    """H x W x 3, between 0 and 1."""
    plain: bool
    """Whether skipping it would be wrong."""


def make(rng: np.random.Generator, folder: Path) -> Case:
    """Make a folder with two images of one kind, one perhaps damaged."""
    root = folder / "images"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    kind = choose(rng, *KINDS)
    files, what = [], kind
    size = (int(rng.integers(20, 60)), int(rng.integers(20, 60)))
    for name in ("a", "b"):
        shows = picture(rng, size)
        path = save(kind, root / name / "x", shows, rng)
        plain = kind in PLAIN
        if rng.random() < 0.12:
            what += f", {name} {damage(rng, path)}"
            plain = False
        files.append(Made(path.relative_to(root).as_posix(), shows, plain))
    return Case(what, lambda: _check(root, files))


def transform(image: Image.Image) -> torch.Tensor:
    """Apply the usual transform of CLIP models: RGB, a common size, numbers between 0 and 1."""
    small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def _check(root: Path, files: list[Made]) -> str:
    called = {path.relative_to(root).as_posix() for path in (root / file.path for file in files)}
    try:
        folder = list_images(root)
    except SourceError as error:
        raise Fault(f"a folder with images is refused: {error}") from error
    pixels: dict[str, torch.Tensor] = {}
    skipped = list(folder.skipped)
    for batch in decoded_images(folder, np.arange(len(folder.paths)), transform, batch_size=3):
        skipped += batch.skipped
        if batch.images is not None:
            pixels |= {folder.paths[index]: image for index, image in zip(batch.indices, batch.images, strict=True)}
    reasons = {entry.path: entry.reason for entry in skipped}
    if not all(reason.strip() and len(reason) < 1000 and "\n" not in reason for reason in reasons.values()):
        raise Fault(f"an image is skipped without a reason in one line: {reasons}")
    if lost := called - pixels.keys() - reasons.keys():
        raise Fault(f"neither read nor listed: {sorted(lost)}")
    for file in files:
        if file.path in pixels and not torch.isfinite(pixels[file.path]).all():
            raise Fault(f"{file.path} holds NaN or infinity")
        if file.plain:
            if file.path not in pixels:
                raise Fault(f"a plain image is skipped: {file.path}, {reasons[file.path]}")
            expected = transform(Image.fromarray((255 * file.shows).round().astype(np.uint8)))
            if (far := float((pixels[file.path] - expected).abs().mean())) > FAR:
                raise Fault(f"{file.path} is {far:.2f} from what it shows")
    both = [pixels[file.path] for file in files if file.path in pixels]
    if len(both) == 2 and torch.equal(*both):
        raise Fault("two different images became the same pixels")
    return ACCEPTED if both else REFUSED
