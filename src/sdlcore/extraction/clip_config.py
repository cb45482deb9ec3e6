"""Settings of activations of vision models.

The module does not import torch, so that checking a configuration is fast.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from sdlcore.settings import Batch, Precision, Settings, Share, Text, Total


class ClipSource(Settings):
    """Activations of a vision model on images: by default, embeddings of a CLIP model."""

    images: Text
    """Folder of training images in ImageFolder layout, <folder>/<class>/<image>.jpg."""
    model: Text
    """Architecture: a name in open_clip, or a JSON file like its model_configs. Weights of openai, laion400m and
    metaclip need a name that ends in -quickgelu. Or transformers:<folder or owner/name>, timm:<name> or
    timm:<name>:<file of weights>, with at."""
    pretrained: Text
    """Weights: a local file (safetensors, or one that torch loads with weights_only), a tag of open_clip for the model,
    or hf-hub:<owner>/<name>. Models of transformers and timm bring their own; write library."""
    test_images: Text | None = None
    """Folder of evaluation images with the same classes; None to hold out test_samples random images."""
    embedding: Literal["pooled", "joint"] = "pooled"
    """pooled: after the last layer norm, before the projection into the joint space; joint: after the projection, not
    normalised."""
    at: Text | None = None
    """Path of a module in the image tower whose output is read, such as transformer.resblocks.6; null for embedding."""
    tokens: Literal["all", "last", "mean", "cls", "patches"] = "all"
    """Rows of an image at this module: patches gives one for each patch; cls, last and mean one for each image."""
    dtype: Precision = "float32"
    """Precision of the forward pass."""
    store_dtype: Literal["float16", "float32"] = "float16"
    """Precision of the stores."""
    batch_size: Batch = 64
    """Images per forward pass."""
    train_samples: Total | None = None
    """Number of images of the training store, a fixed random choice; None for all."""
    test_samples: Total | None = None
    """Number of images of the evaluation store; None for all of test_images."""
    max_unreadable: Share = 0.01
    """Largest share of a store's images that may be unreadable. They are skipped and listed in skipped.csv; above this
    share, the extraction fails."""
    n_p: Annotated[int, Ge(1), Le(10**6)] | None = None
    """Dimension of embeddings; with it, a plan can estimate disk space."""

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that contradicts others."""
        if self.test_images is None:
            if self.test_samples is None:
                yield "test_samples", "missing; without test_images, it is the number of images to hold out"
        elif Path(self.test_images) == Path(self.images):
            yield "test_images", "is the same folder as images; leave it out and set test_samples to hold out images"
