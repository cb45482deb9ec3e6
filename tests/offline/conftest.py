"""The CLIP with random weights, which tests of image sources share."""

from tests.extraction.conftest import clip_files as clip_files
