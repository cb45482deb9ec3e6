"""Settings of image embeddings and of training a CLIP.

The module does not import torch, so that checking a configuration is fast.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from sdlcore.settings import Batch, Positive, Precision, Seed, Settings, Share, Text, Total

FASHION_MNIST = "fashion_mnist"
"""The name of the images that the pipeline downloads and prepares itself."""
TRAINED_HERE = "trained"
"""The name of CLIP weights that the pipeline trains itself."""
_FASHION_MNIST_IMAGES = {"train_samples": (20000, 60000), "test_samples": (4000, 10000)}
"""Default number of Fashion-MNIST images, and number of available images."""


class ClipTraining(Settings):
    """Training of a CLIP. The last images of an epoch that do not fill a batch are left out."""

    steps: Total = 200
    """Number of AdamW steps."""
    batch_size: Annotated[int, Ge(2), Le(10**9)] = 256
    """Images per step."""
    lr: Positive = 1e-3
    """Peak learning rate."""
    seed: Seed = 0
    """Seed of initialisation, order and flips."""


class ClipSource(Settings):
    """Embeddings of images by a CLIP model."""

    images: Text
    """Folder of training images in ImageFolder layout, <folder>/<class>/<image>.jpg, or the word fashion_mnist, for
    which folders of training and test images are prepared."""
    model: Text
    """Architecture: a name in open_clip, or a JSON file like its model_configs. Weights of openai, laion400m and
    metaclip need a name that ends in -quickgelu."""
    pretrained: Text
    """Weights: a local file (safetensors, or one that torch loads with weights_only), a tag of open_clip for the model,
    hf-hub:<owner>/<name>, or the word trained to train the model on images first."""
    test_images: Text | None = None
    """Folder of evaluation images with the same classes; None to hold out test_samples random images, or for
    fashion_mnist."""
    embedding: Literal["pooled", "joint"] = "pooled"
    """pooled: after the last layer norm, before the projection into the joint space; joint: after the projection, not
    normalised."""
    dtype: Precision = "float32"
    """Precision of the forward pass."""
    store_dtype: Literal["float16", "float32"] = "float16"
    """Precision of the stores."""
    batch_size: Batch = 64
    """Images per forward pass."""
    train_samples: Total | None = None
    """Number of images of the training store, a fixed random choice; None for all, or for the first 20,000 of 60,000 in
    fashion_mnist."""
    test_samples: Total | None = None
    """Number of images of the evaluation store; None for all of test_images, or for the first 4,000 of 10,000 in
    fashion_mnist."""
    max_unreadable: Share = 0.01
    """Largest share of a store's images that may be unreadable. They are skipped and listed in skipped.csv; above this
    share, the extraction fails."""
    n_p: Annotated[int, Ge(1), Le(10**6)] | None = None
    """Dimension of embeddings, checked on extraction; with it, a plan can estimate disk space."""

    @property
    def images_taken(self) -> tuple[int | None, int | None]:
        """Number of images for training and for evaluation; None for all."""
        if self.images != FASHION_MNIST:
            return self.train_samples, self.test_samples
        (train, _), (test, _) = _FASHION_MNIST_IMAGES.values()
        return self.train_samples or train, self.test_samples or test

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that contradicts others."""
        if self.images == FASHION_MNIST:
            if self.test_images is not None:
                yield "test_images", f"must be null, since {FASHION_MNIST} has its own"
            for key, (_, most) in _FASHION_MNIST_IMAGES.items():
                if (getattr(self, key) or 0) > most:
                    yield key, f"{getattr(self, key)} images, but {FASHION_MNIST} has {most}"
        elif self.test_images is None:
            if self.pretrained == TRAINED_HERE:
                yield "test_images", "missing; a CLIP that is trained here needs a separate folder for evaluation"
            if self.test_samples is None:
                yield "test_samples", "missing; without test_images, it is the number of images to hold out"
        elif Path(self.test_images) == Path(self.images):
            yield "test_images", "is the same folder as images; leave it out and set test_samples to hold out images"
