"""CLIP models of open_clip, as embeddings take them."""

import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from sdlcore.sources.images.checkpoints import halves
from tests.sources.conftest import picture


@pytest.mark.parametrize("settings", [{}, {"resize_mode": "longest", "interpolation": "bilinear"}])
def test_halves_of_preprocessing_have_its_bits(settings: dict):
    whole = image_transform(24, is_train=False, **settings)
    one, other = halves(whole)
    pictures: list[Image.Image] = [
        *(picture(index, size=size) for index, size in enumerate([(20, 17), (60, 31), (24, 24)])),
        *(picture("grey").convert(mode) for mode in ("L", "P", "CMYK")),
    ]
    pixels = torch.stack([one(image) for image in pictures])
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (len(pictures), 3, 24, 24))
    assert torch.equal(other(pixels), torch.stack([whole(image) for image in pictures]))


def test_preprocessing_of_another_end_is_refused():
    whole = image_transform(24, is_train=False)
    whole.transforms.pop()
    with pytest.raises(TypeError, match="no longer ends with ToTensor and Normalize"):
        halves(whole)
