"""Image files of every format, mode and depth that people have, under names that they have."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz.cases import choose

Save = Callable[[Path, np.ndarray, np.random.Generator], Path]
"""Writes H x W x 3 numbers between 0 and 1 to a path without a suffix, and returns the path."""


def picture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return H x W x 3 numbers between 0 and 1: patches of colour."""
    coarse = Image.fromarray((255 * rng.random((4, 4, 3))).astype(np.uint8))
    return np.asarray(coarse.resize(size, Image.Resampling.NEAREST)) / 255


def _rgb(shows: np.ndarray) -> Image.Image:
    return Image.fromarray((255 * shows).round().astype(np.uint8))


def _pillow(suffix: str, mode: str = "RGB", **options: Any) -> Save:
    """Save by Pillow, in a mode, under a suffix that may be another format's."""

    def save(path: Path, shows: np.ndarray, rng: np.random.Generator) -> Path:
        path = path.with_suffix(suffix)
        image = _rgb(shows)
        if mode in ("RGBA", "LA", "PA"):
            alpha = Image.fromarray((255 * rng.random(shows.shape[:2])).astype(np.uint8))
            image = image.convert(mode[:-1] if mode != "PA" else "RGB")
            image.putalpha(alpha)
        elif mode == "LAB":
            image = Image.frombytes("LAB", image.size, image.tobytes())
        else:
            image = image.convert(mode)
        image.save(path, **options)
        return path

    return save


def _numbers(suffix: str, dtype: str, low: float, high: float, **options: Any) -> Save:
    """Save one channel of numbers, with a range other than eight bits."""

    def save(path: Path, shows: np.ndarray, rng: np.random.Generator) -> Path:
        path = path.with_suffix(suffix)
        grey = low + (high - low) * shows.mean(axis=2)
        Image.fromarray(grey.astype(dtype)).save(path, **options)
        return path

    return save


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(
    depth: int = 16,
    colour: int = 2,
    size: tuple[int, int] | None = None,
    more: Callable[[np.random.Generator], bytes] | None = None,
) -> Save:
    """Write a PNG by hand: 16 bits per channel, false sizes, chunks that Pillow does not write."""

    def save(path: Path, shows: np.ndarray, rng: np.random.Generator) -> Path:
        path = path.with_suffix(".png")
        channels = {0: shows.mean(axis=2, keepdims=True), 2: shows, 6: np.concatenate([shows, shows[..., :1]], 2)}[
            colour
        ]
        pixels = (channels * (2**depth - 1)).round().astype(">u2" if depth == 16 else "u1")
        rows = b"".join(b"\0" + row.tobytes() for row in pixels)
        width, height = size or (shows.shape[1], shows.shape[0])
        header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
        content = _chunk(b"IHDR", header) + (more(rng) if more else b"") + _chunk(b"IDAT", zlib.compress(rows))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + _chunk(b"IEND", b""))
        return path

    return save


def _odd_chunk(rng: np.random.Generator) -> bytes:
    return choose(
        rng,
        _chunk(b"gAMA", struct.pack(">I", 1)),
        _chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile")),
        _chunk(b"iCCP", b"x\0\0" + rng.bytes(20)),
        _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 << 20))),
        _chunk(b"tEXt", b"Comment\0" + bytes(1 << 20)),
        _chunk(b"eXIf", rng.bytes(30)),
        _chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + rng.bytes(30)),
        _chunk(b"tRNS", b"\0\0" * 3),
        _chunk(b"PLTE", b"\0"),
        _chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1)),
        _chunk(b"acTL", struct.pack(">II", 2**31, 0)),
    )


def _bytes(suffix: str, *contents: bytes) -> Save:
    """Write bytes that are no image of a known format; the first half of the images differ from the second."""

    def save(path: Path, shows: np.ndarray, rng: np.random.Generator) -> Path:
        path = path.with_suffix(suffix)
        path.write_bytes(choose(rng, *contents) + (255 * shows).astype(np.uint8).tobytes()[:500])
        return path

    return save


def _animated(suffix: str) -> Save:
    def save(path: Path, shows: np.ndarray, rng: np.random.Generator) -> Path:
        path = path.with_suffix(suffix)
        frames = [_rgb(picture(rng, (shows.shape[1], shows.shape[0]))) for _ in range(2)]
        _rgb(shows).save(path, save_all=True, append_images=frames)
        return path

    return save


def _strip(suffix: str, width: int, height: int) -> Save:
    """Save an image of another shape: a line or a dot."""

    def save(path: Path, shows: np.ndarray, rng: np.random.Generator) -> Path:
        path = path.with_suffix(suffix)
        _rgb(shows).resize((width, height), Image.Resampling.NEAREST).save(path)
        return path

    return save


def _turned(path: Path, shows: np.ndarray, rng: np.random.Generator) -> Path:
    exif = Image.Exif()
    exif[0x0112] = choose(rng, 1, 3, 6, 8, 0, 99, 65535)
    path = path.with_suffix(".jpg")
    _rgb(shows).save(path, exif=exif)
    return path


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n20 20 scale\nshowpage\n%%EOF\n"

PLAIN: dict[str, Save] = {
    **{"PNG": _pillow(".png"), "PNG in capitals": _pillow(".PNG", format="PNG"), "JPEG": _pillow(".jpg", quality=95)},
    **{"JPEG, progressive": _pillow(".jpeg", quality=95, progressive=True), "WebP": _pillow(".webp", lossless=True)},
    **{"BMP": _pillow(".bmp"), "PNG of 16 bits by 3": _png(), "PNG named .jpg": _pillow(".jpg", format="PNG")},
}
"""Kinds that must be read, and must show the right image."""
KINDS: dict[str, Save] = {
    **PLAIN,
    "PNG, grey": _pillow(".png", "L"),
    "PNG, 1 bit": _pillow(".png", "1"),
    "PNG, palette": _pillow(".png", "P"),
    "PNG, palette, see-through": _pillow(".png", "P", transparency=3),
    "PNG, see-through": _pillow(".png", "RGBA"),
    "PNG, grey, see-through": _pillow(".png", "LA"),
    "PNG of 16 bits": _numbers(".png", "u2", 0, 65535),
    "PNG of 16 bits, 12 used": _numbers(".png", "u2", 0, 4095),
    "PNG of 16 bits, 8 used": _numbers(".png", "u2", 0, 255),
    "PNG of 16 bits, the dark few": _numbers(".png", "u2", 0, 20),
    "PNG of 16 bits, the bright few": _numbers(".png", "u2", 65000, 65535),
    "PNG of 16 bits, grey, by hand": _png(colour=0),
    "PNG of 16 bits by 4": _png(colour=6),
    "PNG of an odd chunk": _png(depth=8, more=_odd_chunk),
    "PNG of a size that it lacks": _png(depth=8, size=(30, 4000)),
    "PNG of an impossible size": _png(depth=8, size=(100_000, 100_000)),
    "PNG of no size": _png(depth=8, size=(0, 10)),
    "PNG, animated": _animated(".png"),
    "JPEG, grey": _pillow(".jpg", "L"),
    "JPEG, CMYK": _pillow(".jpg", "CMYK"),
    "JPEG, turned": _turned,
    "WebP, lossy": _pillow(".webp", quality=60),
    "WebP, see-through": _pillow(".webp", "RGBA", lossless=True),
    "WebP, animated": _animated(".webp"),
    "BMP, 1 bit": _pillow(".bmp", "1"),
    "BMP, grey": _pillow(".bmp", "L"),
    "BMP, palette": _pillow(".bmp", "P"),
    "GIF named .png": _pillow(".png", "P", format="GIF"),
    "GIF named .png, animated": lambda *args: _animated(".gif")(*args).rename(args[0].with_suffix(".png")),
    "TIFF of floats to 1": _numbers(".png", "f4", 0, 1, format="TIFF"),
    "TIFF of floats to 255": _numbers(".jpg", "f4", 0, 255, format="TIFF"),
    "TIFF of large floats": _numbers(".png", "f4", -1e6, 1e6, format="TIFF"),
    "TIFF of integers": _numbers(".png", "i4", 0, 2**31 - 1000, format="TIFF"),
    "TIFF of small integers": _numbers(".png", "i4", 0, 255, format="TIFF"),
    "TIFF of 16 bits": _numbers(".png", "u2", 0, 65535, format="TIFF"),
    "TIFF of NaN": _numbers(".png", "f4", float("nan"), 1, format="TIFF"),
    "TIFF, CMYK": _pillow(".png", "CMYK", format="TIFF"),
    "TIFF, LAB": _pillow(".png", "LAB", format="TIFF"),
    "TIFF, YCbCr": _pillow(".png", "YCbCr", format="TIFF", compression="jpeg"),
    "TIFF, see-through": _pillow(".png", "RGBA", format="TIFF"),
    "TIFF of two pages": lambda *args: _animated(".tiff")(*args).rename(args[0].with_suffix(".png")),
    "PPM named .png": _pillow(".png", format="PPM"),
    "ICO named .png": _pillow(".png", format="ICO"),
    "TGA named .bmp": _pillow(".bmp", format="TGA"),
    "JPEG 2000 named .jpg": _pillow(".jpg", format="JPEG2000"),
    "PCX named .jpg": _pillow(".jpg", format="PCX"),
    "DDS named .png": _pillow(".png", format="DDS"),
    "AVIF named .webp": _pillow(".webp", format="AVIF"),
    "EPS named .jpg": _bytes(".jpg", POSTSCRIPT),
    "text named .png": _bytes(".png", b"<html>404</html>", b"<svg/>", b"%PDF-1.7", b"", b"version https://git-lfs\n"),
    "headers alone": _bytes(
        ".jpg", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"MM\0+"
    ),
    "one pixel": _strip(".png", 1, 1),
    "a line": _strip(".png", 5000, 1),
    "a column": _strip(".bmp", 1, 5000),
    "large": _strip(".png", 4000, 4000),
}
"""All kinds of images, by name."""


def save(kind: str, path: Path, shows: np.ndarray, rng: np.random.Generator) -> Path:
    """Write an image of a kind and return its path."""
    return KINDS[kind](path, shows, rng)
