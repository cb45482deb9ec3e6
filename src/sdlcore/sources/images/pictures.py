"""Decode one image file to an RGB picture, or say why not."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from sdlcore.sources.folders import NO_FILE

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats that are read, by a file's content and not its name. Pillow knows dozens, and starts programs for some."""

DARKEST = 2**12
"""What some 16-bit value has to reach: files of twelve bits and less in sixteen would be all but black, and alike."""


class PictureError(ValueError):
    """A file is no picture, or its numbers do not say how bright it is."""


@contextmanager
def open_picture(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file as a picture with eight bits a channel and no transparency.

    Values of 16 bits are divided by 257, so that white is 65535 before and 255 after. A picture that is transparent
    somewhere is laid on white. Other modes (grey, palettes, CMYK) are left to whoever converts them to RGB.

    Raises
    ------
    PictureError
        If the file is not a regular one, or its numbers have no range that says what black and white are: floats and
        32-bit integers, and 16 bits of which only the lower ones are used (`DARKEST`).
    Exception
        Of Pillow's, if it cannot be read.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe would wait for somebody to write
        raise PictureError(NO_FILE)
    with Image.open(path, formats=FORMATS) as image:
        yield _opaque(_eight_bits(image))


def _eight_bits(image: ImageFile.ImageFile) -> Image.Image:
    # of a PNG, earlier versions of Pillow give the 16 bits as 32
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        pixels = np.asarray(image).astype(np.uint32)
        if pixels.any():  # else it is black
            _require_bright(int(pixels.max()))
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
    # of several channels, Pillow gives the upper eight bits; what they are read from is known before they are
    if any(";16" in str(tile.args) for tile in image.tile):
        colours = np.asarray(image)[:, :, : len(image.mode.removesuffix("A"))]
        _require_bright(int(colours.max()) * 256 + 255)
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floats"
        raise PictureError(f"its pixels are {kind}, which do not say what is white; save it with 8 or 16 bits")
    return image


def _require_bright(largest: int) -> None:
    if largest < DARKEST:
        raise PictureError(f"its 16-bit values are at most {largest} of 65535, next to black; save it with 8 bits")


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    picture = image.convert("RGBA")
    if picture.getchannel("A").getextrema() == (255, 255):
        return image
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
