"""Measure writing with commits and reading random batches: `python -m benchmarks.reading [FOLDER]`.

100,000 samples of 768 dimensions in float16. The page cache is dropped before reading if that is allowed (root).
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from sdlcore.data.batches import BatchReader
from sdlcore.data.layout import chunk_rows
from sdlcore.data.reading import ActivationStore, verify
from sdlcore.data.resumable import resume_store
from sdlcore.data.shards import unite
from sdlcore.data.writing import create_store
from sdlcore.random_streams import stream

ROWS, DIMENSION, BATCH, SHARDS, STEP_MS = 100_000, 768, 1024, 8, 120.0


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    print(f"{what:<44}{seconds:8.2f} s {ROWS * DIMENSION * 2 / seconds / 1e6:8.0f} MB/s", flush=True)


def drop_cache() -> bool:
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def write(path: Path, block: np.ndarray, rows: int, every: int | None, create: Callable = resume_store) -> None:
    with create(path, {}, "float16") as writer:
        for start in range(0, rows, len(block)):
            writer.append(block[: rows - start])
            if every and start // len(block) % every == 0:
                writer.commit({"next": start})


def read(path: Path, what: str) -> None:
    cold = drop_cache()
    torch.set_num_threads(1)
    with ActivationStore(path) as store:
        reader = BatchReader(store, "sae", BATCH, lambda epoch: stream(0, "order", epoch))
        taken = []
        start, cpu = time.perf_counter(), time.process_time()
        for step in range(2 * reader.steps_per_epoch):
            begun = time.perf_counter()
            reader(step)
            taken.append(1e3 * (time.perf_counter() - begun))
        mean = 1e3 * (time.perf_counter() - start) / len(taken)
        busy = 1e3 * (time.process_time() - cpu) / len(taken)
    print(
        f"{what:<44}{mean:8.2f} ms a batch ({busy:.2f} ms of a core; longest {max(taken):.0f}),"
        f" {100 * mean / STEP_MS:.1f} % of a step of {STEP_MS:.0f} ms, cache {'dropped' if cold else 'kept'}",
        flush=True,
    )


def main(where: str | None) -> None:
    block = np.random.default_rng(0).standard_normal((2048, DIMENSION)).astype(np.float16)
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = Path(name)
        with timed("written at once (create_store)"):
            write(folder / "a.h5", block, ROWS, None, create_store)
        for every, what in (
            (None, "no commit"),
            (8, "a commit every 8 blocks"),
            (1, "a commit every block of 2048 rows"),
        ):
            with timed(f"written resumably, {what}"):
                write(folder / "one.h5", block, ROWS, every)
        with timed("verified"):
            verify(folder / "one.h5")
        size = ROWS // (SHARDS - 1)
        size -= size % chunk_rows(2 * DIMENSION)
        aligned = [(start, min(start + size, ROWS)) for start in range(0, ROWS, size)]
        odd = [(i * ROWS // SHARDS, (i + 1) * ROWS // SHARDS) for i in range(SHARDS)]
        for shards, bounds in (("aligned", aligned), ("odd", odd)):
            paths = [folder / shards / f"part-{number:05}.h5" for number in range(len(bounds))]
            for path, (start, stop) in zip(paths, bounds, strict=True):
                write(path, block, stop - start, None)
            unite(paths, folder / f"{shards}.h5", {})
        for _ in range(2):
            read(folder / "one.h5", "read from one file")
            read(folder / "aligned.h5", f"read from {len(aligned)} shards of whole chunks")
            read(folder / "odd.h5", f"read from {len(odd)} shards of any length")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
