"""Measure the model's share of an extraction's time.

    python -m benchmarks.extraction [--model FOLDER --text FILE]

The benchmark compares an extraction, from documents or pictures to the committed store, with a bare forward pass over
the same batches, which are already in memory. Whole passes alternate, and each goes first in every other round. The
output is the throughput of the extraction relative to the bare pass, as the median over rounds.

The language model is given by --model and reads --text; the default is the model of the default configuration after
`make run`. The image model is a ViT-B/32 with random weights. Its pictures are random, of the size of ImageNet's, and
saved as JPEG.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
import yaml
from PIL import Image

from sdlcore.data.resumable import resume_store
from sdlcore.random_streams import stream
from sdlcore.settings import Precision
from sdlcore.sources.images import embedding as clip
from sdlcore.sources.images.checkpoints import embedder, load_clip
from sdlcore.sources.images.settings import ClipSource
from sdlcore.sources.language import preparation
from sdlcore.sources.language.extraction import fill_one
from sdlcore.sources.language.forward import KEPT, stack_batches
from sdlcore.sources.language.settings import LanguageSource
from sdlcore.sources.wheels import parse_reference

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
ROUNDS, BATCHES, IMAGES, IMAGE_BATCH = 5, 12, 256, 64


def compare(what: str, unit: str, number: int, extraction: Callable[[], None], bare: Callable[[], None]) -> None:
    """Time both in turns, and print the ratio of their throughputs."""
    bare()
    taken: dict[Callable[[], None], list[float]] = {extraction: [], bare: []}
    for turn in range(ROUNDS):
        for run in (extraction, bare) if turn % 2 else (bare, extraction):
            start = time.perf_counter()
            run()
            taken[run].append(time.perf_counter() - start)
    shares = [alone / whole for whole, alone in zip(taken[extraction], taken[bare], strict=True)]
    rates = [number / statistics.median(taken[run]) for run in (extraction, bare)]
    print(
        f"{what:<40} {rates[0]:9.1f} {unit}/s of {rates[1]:9.1f} bare: {statistics.median(shares):.3f}"
        f" ({min(shares):.3f} to {max(shares):.3f} over {ROUNDS} rounds)",
        flush=True,
    )


def language(model: Path, text: Path, layer: int, dtype: Precision, folder: Path) -> None:
    source = LanguageSource(model="benchmark", text="benchmark", layer=layer, dtype=dtype)
    (work,) = preparation.prepare([source], model, text, 0, threads=torch.get_num_threads())
    path = folder / "rows.h5"
    contexts = BATCHES * source.contexts_per_batch
    # only rows of whole batches, so that both run the model on the same data
    kept = [work.kinds.of(batch.tokens, batch.norms) == KEPT for batch in work.batches(contexts=contexts)]
    rows = int(np.concatenate(kept).sum())

    def extract() -> None:
        with resume_store(path, work.facts | {"split": "train"}, dtype="float16") as writer:
            fill_one(work, writer, rows)
        path.unlink()

    few = (context for _, context in zip(range(contexts), work.contexts(), strict=False))
    batches = [torch.from_numpy(tokens.token).long() for tokens in stack_batches(few, source.contexts_per_batch)]

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                work.stack.model(batch, use_cache=False)

    compare(f"language model, {dtype}", "tokens", contexts * source.context_length, extract, forward)


def photographs(folder: Path) -> Path:
    """Draw pictures of 500 x 375 with structure at every scale; as JPEG they are about as large as ImageNet's."""
    for index in range(IMAGES):
        rng = stream(index, "photograph")
        picture = np.zeros((375, 500, 3))
        for size in (4, 16, 64, 250):
            noise = rng.integers(0, 256, (size * 3 // 4, size, 3), dtype=np.uint8)
            picture += np.asarray(Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)) / 4
        path = folder / f"class{index % 4}" / f"{index}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(path, quality=90)
    return folder


def images(dtype: Precision, threads: int, workers: int, weights: Path, folder: Path) -> None:
    model = "ViT-B-32-quickgelu"
    source = ClipSource(
        images="benchmark", model=model, pretrained="random", dtype=dtype, batch_size=IMAGE_BATCH, test_samples=1
    )
    before = torch.get_num_threads()
    work = clip.clip_extraction(source, folder, model=model, pretrained=str(weights), workers=workers, threads=threads)
    path = folder.parent / "embeddings.h5"

    def extract() -> None:
        with resume_store(path, work.facts_of("train"), "float16", work.class_names) as writer:
            work.fill(writer, "train")
        path.unlink()

    loaded = load_clip(model, str(weights), dtype, "cpu")
    embed = embedder(loaded.model, source.embedding)
    pictures = [loaded.preprocess(Image.open(folder / name)) for name in work.splits["train"].folder.paths[1:]]
    batches = [batch.to(getattr(torch, dtype)) for batch in torch.stack(pictures).split(IMAGE_BATCH)]

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                embed(batch)

    compare(f"ViT-B/32, {dtype}, {threads} threads, {workers} workers", "images", IMAGES - 1, extract, forward)
    torch.set_num_threads(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a checkpoint")
    parser.add_argument("--text", type=Path, help="a text")
    parser.add_argument("--layer", type=int, default=12)
    args = parser.parse_args()
    default = yaml.safe_load(Path("config/config.yaml").read_text())
    config = default["sources"]["language"]["smollm2"]
    model = args.model or Path("results", default["name"], "models") / parse_reference(config["model"]).cached
    text = args.text or Path("cache/wheels") / parse_reference(config["text"]).cached
    for path in (model, text):
        if not path.exists():
            parser.error(f"{path}: not there; name another, or run the default pipeline first")
    cores = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dtype in PRECISIONS:
            language(model, text, args.layer, dtype, folder)
        weights = folder / "random.pt"
        torch.save(open_clip.create_model("ViT-B-32-quickgelu").state_dict(), weights)
        pictures = photographs(folder / "pictures")
        for dtype in PRECISIONS:
            # all cores for the model, which then decodes in between; or one core for a worker
            for threads, workers in ((cores, 0), (max(1, cores - 1), 1)):
                images(dtype, threads, workers, weights, pictures)


if __name__ == "__main__":
    main()
