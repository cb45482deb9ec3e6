"""Settings of a CLIP that the pipeline trains itself, and of pictures that it downloads itself.

The module does not import torch, so that checking a configuration is fast.
"""

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Ge, Le

from sdlcore.extraction.config import ClipSource
from sdlcore.settings import Positive, Seed, Settings, Text, Total

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


class OfflineClip(ClipSource):
    """Embeddings of images by a CLIP model. The pipeline can make both the images and the model."""

    images: Text
    """Folder of training images in ImageFolder layout, <folder>/<class>/<image>.jpg, or the word fashion_mnist, for
    which folders of training and test images are prepared."""
    pretrained: Text
    """Weights: a local file (safetensors, or one that torch loads with weights_only), a tag of open_clip for the model,
    hf-hub:<owner>/<name>, or the word trained to train the model on images first."""
    test_images: Text | None = None
    """Folder of evaluation images with the same classes; None to hold out test_samples random images, or for
    fashion_mnist."""
    train_samples: Total | None = None
    """Number of images of the training store, a fixed random choice; None for all, or for the first 20,000 of 60,000 in
    fashion_mnist."""
    test_samples: Total | None = None
    """Number of images of the evaluation store; None for all of test_images, or for the first 4,000 of 10,000 in
    fashion_mnist."""
    training: ClipTraining = ClipTraining()
    """Training of the CLIP, if pretrained is trained."""

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
        else:
            if self.test_images is None and self.pretrained == TRAINED_HERE:
                yield "test_images", "missing; a CLIP that is trained here needs a separate folder for evaluation"
            yield from super().inconsistencies()
        rows, batch = self.images_taken[0], self.training.batch_size
        if self.pretrained == TRAINED_HERE and rows is not None and batch > rows:
            yield "training.batch_size", f"{batch} exceeds the source's {rows} train_samples"
