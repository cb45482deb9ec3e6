"""Images in figures 9 and 10."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdlcore.study.rendering.top_images import ShownLatent, figure_top_images


def row(*images: Path) -> ShownLatent:
    return ShownLatent(0, "cat", 0.5, False, images, ["cat"] * len(images), [("cat", 3)])


def test_an_image_is_shown_as_the_model_saw_it(tmp_path: Path):
    Image.fromarray(np.full((4, 4), 65535 // 2, dtype=np.uint16)).save(tmp_path / "grey.png")
    figure = figure_top_images([row(tmp_path / "grey.png")], 1, "title")
    (shown,) = (image for axes in figure.axes for image in axes.images)
    assert np.unique(shown.get_array()).tolist() == [127]


def test_an_image_that_is_broken_by_now_is_named(tmp_path: Path):
    (tmp_path / "image.png").write_text("words")
    with pytest.raises(ValueError, match=r"image\.png: not a readable image .*UnidentifiedImageError"):
        figure_top_images([row(tmp_path / "image.png")], 1, "title")
