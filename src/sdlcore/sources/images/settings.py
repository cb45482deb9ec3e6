"""Settings of a source of image embeddings, and of a CLIP that is trained for one. Without torch: configurations are
checked by them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from sdlcore.settings import Batch, FromJson, Positive, Precision, Seed, Share, Text, Total

FASHION_MNIST = "fashion_mnist"
"""The name of the images that the pipeline downloads and prepares itself."""
TRAINED_HERE = "trained"
"""The name of CLIP weights that the pipeline trains itself."""
_FASHION_MNIST_IMAGES = {"train_samples": (20000, 60000), "test_samples": (4000, 10000)}
"""How many of its images are taken unless told, and how many there are."""


@dataclass(frozen=True)
class ClipTraining(FromJson):
    """How a CLIP is trained. An epoch's last images that do not fill a batch are left out."""

    steps: Total = 200
    """Steps of AdamW."""
    batch_size: Annotated[int, Ge(2), Le(10**9)] = 256
    """Images of a step."""
    lr: Positive = 1e-3
    """Peak learning rate."""
    seed: Seed = 0
    """Of initialisation, order and flips."""


@dataclass(frozen=True)
class ClipSource(FromJson):
    """Embeddings of images by a CLIP model."""

    images: Text
    """Folder of training images in ImageFolder layout, <folder>/<class>/<image>.jpg, or the word fashion_mnist, which
    prepares such a folder and one of test images."""
    model: Text
    """Architecture, a name that open_clip knows or a JSON file like its model_configs. Weights of openai, laion400m and
    metaclip need a name that ends in -quickgelu."""
    pretrained: Text
    """Weights, a local file (safetensors, or one that torch loads with weights_only), a tag of open_clip for the model,
    hf-hub:<owner>/<name>, or the word trained, which trains the model on images first."""
    test_images: Text | None = None
    """Folder of evaluation images with the same classes; None to hold out test_samples random ones of images, or for
    fashion_mnist."""
    embedding: Literal["pooled", "joint"] = "pooled"
    """pooled: before the projection into the joint space, after the last layer norm; joint: after it, not divided by
    its norm."""
    dtype: Precision = "float32"
    """Precision of the forward pass."""
    store_dtype: Literal["float16", "float32"] = "float16"
    """Precision of the stores."""
    batch_size: Batch = 64
    """Images that run at once."""
    train_samples: Total | None = None
    """Images of the training store, drawn once and for all; None for all, of fashion_mnist for the first 20,000 of its
    60,000."""
    test_samples: Total | None = None
    """Images of the evaluation store; None for all of test_images, of fashion_mnist for the first 4,000 of its
    10,000."""
    max_unreadable: Share = 0.01
    """Share of a store's images that may be unreadable. They are skipped and listed in skipped.csv; above the share,
    the extraction fails."""
    n_p: Annotated[int, Ge(1), Le(10**6)] | None = None
    """Dimension of embeddings, checked on extraction; lets a plan say what disk is needed."""

    @property
    def images_taken(self) -> tuple[int | None, int | None]:
        """How many images are trained and evaluated on; None for all that there are."""
        if self.images != FASHION_MNIST:
            return self.train_samples, self.test_samples
        (train, _), (test, _) = _FASHION_MNIST_IMAGES.values()
        return self.train_samples or train, self.test_samples or test

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that does not go with the others."""
        if self.images == FASHION_MNIST:
            if self.test_images is not None:
                yield "test_images", f"must be null, since {FASHION_MNIST} has its own"
            for key, (_, most) in _FASHION_MNIST_IMAGES.items():
                if (getattr(self, key) or 0) > most:
                    yield key, f"{getattr(self, key)} images, but {FASHION_MNIST} has {most}"
        elif self.test_images is None:
            if self.pretrained == TRAINED_HERE:
                yield "test_images", "missing; a CLIP that is trained here is judged on a folder of its own"
            if self.test_samples is None:
                yield "test_samples", "missing; without test_images, it says how many images are held out"
        elif Path(self.test_images) == Path(self.images):
            yield "test_images", "is images, too; leave it out and set test_samples, which training does not see"
