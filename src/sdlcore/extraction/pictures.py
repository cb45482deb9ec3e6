"""Decode an image file to a picture with eight bits per channel."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sdlcore.extras import extra

with extra("clip"):
    from PIL import Image, ImageFile

Image.preinit()  # usual formats come first
Image.init()
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow recognises, but decodes by external programs or not at all."""
FORMATS = [name for name in Image.ID if name not in NOT_DECODED]
"""Formats that Pillow decodes."""
SIGNED = [name for name in FORMATS if Image.OPEN[name][1]]
"""Formats that a file's first bytes show. The others, such as TGA, would take damaged files for pictures."""
SUFFIXES = {suffix: name for suffix, name in Image.registered_extensions().items() if name in FORMATS}
"""Suffix of a file's name -> its format."""

DARKEST = 2**12
"""Smallest allowed maximum of 16-bit values. A 12-bit picture stored in 16 bits would become nearly black."""


class PictureError(ValueError):
    """The numbers of a picture have no defined brightness."""


@contextmanager
def open_picture(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file as a picture with eight bits per channel and no transparency.

    16-bit values are divided by 257, which maps white (65535) to 255. Pictures with transparent pixels are drawn on a
    white background. Other modes (grey, palettes, CMYK) are not converted to RGB.

    Raises
    ------
    PictureError
        If black and white are undefined: for floats, 32-bit integers, and 16-bit files with only small values
        (`DARKEST`).
    Exception
        Any exception of Pillow, if the file cannot be read.
    """
    named = SUFFIXES.get(Path(path).suffix.lower())
    with Image.open(path, formats=SIGNED if named is None or named in SIGNED else [*SIGNED, named]) as image:
        yield _opaque(_eight_bits(image))


def _eight_bits(image: ImageFile.ImageFile) -> Image.Image:
    # earlier versions of Pillow return a 16-bit PNG as 32 bits
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        pixels = np.asarray(image).astype(np.uint32)
        if pixels.any():  # all zeros is a black picture
            _require_bright(int(pixels.max()))
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
    # for several channels, Pillow returns the upper eight bits; the tiles show before loading whether there are 16
    if any(";16" in str(tile.args) for tile in image.tile):
        colours = np.asarray(image)[:, :, : len(image.mode.removesuffix("A"))]
        _require_bright(int(colours.max()) * 256 + 255)
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floats"
        raise PictureError(f"its pixels are {kind}, for which white is undefined; save the picture with 8 or 16 bits")
    return image


def _require_bright(largest: int) -> None:
    if largest < DARKEST:
        raise PictureError(
            f"its 16-bit values are at most {largest} of 65535, nearly black; save the picture with 8 bits"
        )


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    picture = image.convert("RGBA")
    if picture.getchannel("A").getextrema() == (255, 255):
        return image
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
