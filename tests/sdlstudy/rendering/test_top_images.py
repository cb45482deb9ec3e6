"""Images in figures 9 and 10."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from sdlcore.text import in_line, printable
from sdlstudy.rendering.figures import style
from sdlstudy.rendering.sentences import top_images_sentence
from sdlstudy.rendering.top_images import ShownLatent, figure_top_images
from tests.hostile import NAMES


def row(*images: Path) -> ShownLatent:
    return ShownLatent(0, "cat", 0.5, False, images, ["cat"] * len(images), [("cat", 3)])


def test_an_image_is_drawn_as_the_model_reads_it(tmp_path: Path):
    Image.fromarray(np.full((4, 4), 65535 // 2, dtype=np.uint16)).save(tmp_path / "grey.png")
    figure = figure_top_images([row(tmp_path / "grey.png")], 1, "title")
    (drawing,) = (image for axes in figure.axes for image in axes.images)
    assert np.unique(drawing.get_array()).tolist() == [127]


def test_an_image_that_is_broken_by_now_is_named(tmp_path: Path):
    (tmp_path / "image.png").write_text("words")
    with pytest.raises(ValueError, match=r"image\.png: not a readable image .*UnidentifiedImageError"):
        figure_top_images([row(tmp_path / "image.png")], 1, "title")


@pytest.mark.filterwarnings("error")
def test_names_of_classes_are_drawn_as_they_are(tmp_path: Path):
    Image.new("RGB", (2, 2)).save(tmp_path / "image.png")
    names = [NAMES[0], NAMES[1], *(name for name in NAMES if "\n" in name or "\x1b" in name or len(name) > 100)]
    rows = [
        ShownLatent(0, name, 0.5, False, [tmp_path / "image.png"], [name], [(name, 3), ("cat", 1)]) for name in names
    ]
    figure = figure_top_images(rows, 1, f"topk on {names[0]}")
    drawn = [text._preprocess_math(text.get_text()) for text in figure.findobj(Text)]
    assert not any(is_mathematics for _, is_mathematics in drawn)
    for name in names:  # at the image, at its bar, and above its histogram
        first = in_line(name).split()[0][:10]
        assert sum(first in text for text, _ in drawn) >= 3
    pdf = BytesIO()
    with style():
        figure.savefig(pdf, format="pdf")
    assert pdf.getvalue().startswith(b"%PDF")


@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_shows_a_name_in_one_line(name):
    summary = pd.DataFrame({"latent": [3, 3], "reference": name, "class": name})
    sentence = top_images_sentence("figure9", "topk", "none", summary)
    assert printable(sentence) == sentence
    assert len(sentence) < 300
    assert f"2 of the images {in_line(name)}" in sentence
