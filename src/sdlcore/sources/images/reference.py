"""What a configuration says of images and of the CLIP that embeds them, and whether it goes together."""

from collections.abc import Iterator, Mapping
from typing import Any

# words for images and weights that the pipeline prepares itself, and how many images it takes unless told
FASHION_MNIST = "fashion_mnist"
TRAINED = "trained"
FASHION_MNIST_IMAGES = {"train_samples": (20000, 60000), "test_samples": (4000, 10000)}


def clip_samples(source: Mapping[str, Any]) -> list[int | None]:
    """Return how many images a CLIP source trains and evaluates on; None for all that there are."""
    asked = [source[key] for key in FASHION_MNIST_IMAGES]
    if source["images"] != FASHION_MNIST:
        return asked
    return [
        default if number is None else number
        for number, (default, _) in zip(asked, FASHION_MNIST_IMAGES.values(), strict=True)
    ]


def inconsistencies(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the problem of each setting of a CLIP source that does not go with the others."""
    own = source["images"] != FASHION_MNIST
    if not own and source["test_images"] is not None:
        yield "test_images", f"must be null, since {FASHION_MNIST} has its own"
    for key, (_, most) in FASHION_MNIST_IMAGES.items():
        if not own and (source[key] or 0) > most:
            yield key, f"{source[key]} images, but {FASHION_MNIST} has {most}"
    if own and source["test_images"] is None:
        if source["pretrained"] == TRAINED:
            yield "test_images", "missing; a CLIP that is trained here is judged on a folder of its own"
        if source["test_samples"] is None:
            yield "test_samples", "missing; without test_images, it says how many images are held out"
    training, rows = source["training"], clip_samples(source)[0]
    if source["pretrained"] == TRAINED and rows is not None and training["batch_size"] > rows:
        yield "training.batch_size", f"{training['batch_size']} exceeds the source's {rows} train_samples"
