"""The pixels of files in each format and mode, and files that are no pictures."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from sdlcore.extraction.pictures import FORMATS, PictureError, open_picture
from tests.extraction.conftest import picture

EIGHT = np.arange(256, dtype=np.uint8).reshape(16, 16)


def rgb(path: Path) -> np.ndarray:
    with open_picture(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_eight_bits_are_what_pillow_makes_of_them(mode: str, tmp_path: Path):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    picture("any").convert(mode).save(path)
    with Image.open(path) as expected:
        assert np.array_equal(rgb(path), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_are_scaled_so_that_white_is_white(suffix: str, tmp_path: Path):
    Image.fromarray(EIGHT.astype(np.uint16) * 257).save(tmp_path / f"image.{suffix}")
    assert np.array_equal(rgb(tmp_path / f"image.{suffix}"), np.stack([EIGHT] * 3, axis=2))


def test_values_between_those_of_eight_bits_are_rounded(tmp_path: Path):
    Image.fromarray(np.array([[0, 128, 129, 65535 - 129, 65535]], dtype=np.uint16)).save(tmp_path / "image.png")
    assert rgb(tmp_path / "image.png")[0, :, 0].tolist() == [0, 0, 1, 254, 255]


def test_big_endian_16_bits_are_read_alike(tmp_path: Path):
    Image.fromarray((EIGHT.astype(np.uint16) * 257).astype(">u2")).save(tmp_path / "image.tiff")
    assert np.array_equal(rgb(tmp_path / "image.tiff")[:, :, 0], EIGHT)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (EIGHT.astype(np.float32), "its pixels are floats"),
        (EIGHT.astype(np.float32) / 255, "its pixels are floats"),
        (EIGHT.astype(np.int32), "its pixels are 32-bit integers"),
        (EIGHT.astype(np.uint16), "its 16-bit values are at most 255 of 65535"),
        (EIGHT.astype(np.uint16) * 16, "its 16-bit values are at most 4080 of 65535"),
    ],
)
def test_numbers_that_do_not_say_what_is_white_are_refused(pixels: np.ndarray, message: str, tmp_path: Path):
    Image.fromarray(pixels).save(tmp_path / "image.tiff")
    with pytest.raises(PictureError, match=message), open_picture(tmp_path / "image.tiff"):
        pass


def of_16_bits(path: Path, pixels: np.ndarray) -> Path:
    """Write a PNG with two to four channels of 16 bits, which Pillow cannot write."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits_of_which_the_upper_ones_are_unused_are_refused(channels: int, tmp_path: Path):
    pixels = np.stack([EIGHT.astype(np.uint16)] * channels, axis=2)
    white = of_16_bits(tmp_path / "white.png", pixels * 257)
    if channels == 3:
        assert np.array_equal(rgb(white), pixels)
    else:
        pixels[:, :, -1] = 65535  # opaque
    with pytest.raises(PictureError, match="its 16-bit values are at most 255 of 65535"):
        rgb(of_16_bits(tmp_path / "dark.png", pixels))


def test_black_of_16_bits_is_black(tmp_path: Path):
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "image.png")
    assert rgb(tmp_path / "image.png").max() == 0


def see_through(mode: str) -> Image.Image:
    """Return a black picture with a transparent left half."""
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (0, 0, 4, 8))
    if mode == "P":
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0] * 6)
        image.paste(0, (0, 0, 4, 8))
        image.info["transparency"] = 0
        return image
    image = Image.new(mode.removesuffix("A"), (8, 8), 0)
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_what_is_transparent_is_laid_on_white(mode: str, tmp_path: Path):
    see_through(mode).save(tmp_path / "image.png")
    pixels = rgb(tmp_path / "image.png")
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == 0).all()


def written(path: Path, save: Callable[[Path], None]) -> Path:
    save(path)
    return path.rename(path.with_suffix(".jpg"))


def test_formats_of_a_list_are_detected_by_content(tmp_path: Path):
    first, second = picture("one", size=(16, 16)), picture("two", size=(16, 16))
    for suffix in ("bmp", "gif", "png", "tiff", "webp", "ppm", "ico", "pcx"):
        path = written(tmp_path / f"image.{suffix}", first.save)
        with open_picture(path) as image:
            assert image.size == first.size
            assert image.format in FORMATS
    path = tmp_path / "image.mpo"  # phones write this format, and call it jpg
    first.save(path, save_all=True, append_images=[second])
    assert rgb(path.rename(tmp_path / "image.jpg")).shape == (16, 16, 3)


@pytest.mark.parametrize("suffix", ["eps", "pdf"])
def test_formats_that_are_not_in_the_list_are_refused_whatever_they_are_called(suffix: str, tmp_path: Path):
    path = written(tmp_path / f"image.{suffix}", picture("any", size=(16, 16)).save)
    with pytest.raises(UnidentifiedImageError), open_picture(path):
        pass


def test_a_format_without_a_signature_is_read_by_its_suffix_alone(tmp_path: Path):
    picture("any").save(path := tmp_path / "image.TGA")
    assert rgb(path).shape == (17, 20, 3)
    with pytest.raises(UnidentifiedImageError), open_picture(path.rename(tmp_path / "image.jpg")):
        pass


def test_postscript_that_is_called_jpg_starts_no_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A fake Ghostscript, first in PATH, leaves a trace; Pillow would start it for the detected format."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = written(tmp_path / "image.eps", picture("any").save)
    with Image.open(path) as image, pytest.raises(OSError):  # noqa: PT011
        image.load()
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    with pytest.raises(UnidentifiedImageError), open_picture(path) as image:
        image.load()
    assert not (tmp_path / "ran").exists()
