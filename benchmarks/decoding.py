"""Time several ways of decoding pictures, beside the CLIP model that waits for them.

    python -m benchmarks.decoding

The pictures come from `benchmarks.extraction`. All ways decode batches with as many threads as torch has, in turns with
each other and with a ViT-B/32 (random weights, float32). The output is milliseconds per picture (lower quartile over
rounds), the model's share of the sum of both, and the distance of embeddings from those of the extraction.
"""

import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import Compose, InterpolationMode
from torchvision.transforms.v2 import functional as F

from benchmarks.extraction import photographs

BATCH, BATCHES, ROUNDS = 64, 2, 8
MODEL = "ViT-B-32-quickgelu"

Tensor = torch.Tensor


def ways(transform: Compose) -> dict[str, Callable[[list[Path]], Tensor]]:
    """Return the ways to turn a batch of files into the model's input (B x 3 x 224 x 224)."""
    *shape, _, normalise = transform.transforms
    size = shape[0].size

    def drafted(path: Path) -> Tensor:
        with Image.open(path) as picture:
            picture.draft("RGB", (size, size))
            return transform(picture)

    def pixels(path: Path) -> np.ndarray:
        return np.array(Compose(shape)(Image.open(path)))

    def torchs(path: Path) -> Tensor:
        picture = decode_jpeg(torch.from_numpy(np.fromfile(path, np.uint8)), ImageReadMode.RGB)
        return F.center_crop(F.resize(picture, [size], InterpolationMode.BICUBIC, antialias=True), [size, size])

    def stacked(one: Callable[[Path], Tensor]) -> Callable[[list[Path]], Tensor]:
        return lambda paths: torch.stack(list(pool.map(one, paths)))

    def by_batch(paths: list[Path]) -> Tensor:
        batch = torch.from_numpy(np.stack(list(pool.map(pixels, paths)))).permute(0, 3, 1, 2)
        return normalise(batch.contiguous().float().div(255))

    pool = ThreadPoolExecutor(torch.get_num_threads())
    return {
        "Pillow, as extraction does": stacked(lambda path: transform(Image.open(path))),
        "Pillow, scaled by its draft mode": stacked(drafted),
        "Pillow, numbers by the batch": by_batch,
        "torchvision's decoder and resize": lambda paths: normalise(stacked(torchs)(paths).float().div(255)),
    }


def main() -> None:
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that weights are random
    model, _, transform = open_clip.create_model_and_transforms(MODEL)
    model.eval()
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        paths = sorted(photographs(Path(name)).glob("*/*"))[: BATCH * BATCHES]
        batches = [paths[first : first + BATCH] for first in range(0, len(paths), BATCH)]
        decoders = ways(transform)
        made = {way: torch.cat([decode(batch) for batch in batches]) for way, decode in decoders.items()}
        embedded = {way: torch.cat([model.encode_image(part) for part in x.split(BATCH)]) for way, x in made.items()}
        stored, *_ = embedded.values()
        taken: dict[str, list[float]] = defaultdict(list)
        for _ in range(ROUNDS):
            for way, decode in decoders.items():
                start = time.perf_counter()
                for batch in batches:
                    decode(batch)
                taken[way].append((time.perf_counter() - start) / len(paths))
            start = time.perf_counter()
            model.encode_image(made["Pillow, as extraction does"][:BATCH])
            taken["model"].append((time.perf_counter() - start) / BATCH)
    quartile = {what: 1000 * float(np.quantile(times, 0.25)) for what, times in taken.items()}
    print(f"model: {quartile['model']:.1f} ms a picture on {torch.get_num_threads()} threads, {ROUNDS} rounds")
    for way in decoders:
        share = quartile["model"] / (quartile["model"] + quartile[way])
        off = (embedded[way] - stored).norm() / stored.norm()
        print(f"{way:34} {quartile[way]:.2f} ms, share of the model {share:.3f}, embeddings off by {off:.1e}")


if __name__ == "__main__":
    main()
