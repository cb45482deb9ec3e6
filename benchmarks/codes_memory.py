"""Memory of sparse codes, an evaluation and feature pages: 1,000,000 x 576 activations on disk, 16,384 latents, k = 32.

`python -m benchmarks.codes_memory FOLDER` writes a store of 2.3 GB to the folder and deletes it at the end. Each call
runs in its own process, because a process's peak memory never falls.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import sdlcore as sdl
from benchmarks.machine import describe
from benchmarks.memory import resident
from sdlcore.data.writing import create_store
from sdlcore.inside.firing import firings, rows_of_store
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from sdlcore.run import ModelConfig

AT_ONCE = 10_000
TOKENS_A_DOCUMENT = 500
CALLS: dict[str, Callable[[sdl.Dictionary, sdl.ActivationStore], Any]] = {
    "encode": lambda sae, store: sae.encode(store, sparse=True),
    "evaluate": lambda sae, store: sdl.evaluate(sae, x=store, nulls=False),
    "evaluate, null baselines too": lambda sae, store: sdl.evaluate(sae, x=store),
    "activations of all latents, for pages": lambda sae, store: firings(
        sae.coder, rows_of_store(store, "sae"), range(sae.n_q)
    ),
}


def write(path: Path, rows: int, dimension: int) -> None:
    """Write normally distributed activations, and document numbers for their tokens."""
    rng = stream(0, "codes_memory")
    with create_store(path, {}) as writer:
        for start in range(0, rows, AT_ONCE):
            number = np.arange(start, min(start + AT_ONCE, rows))
            where = {"document": number // TOKENS_A_DOCUMENT, "position": number % TOKENS_A_DOCUMENT}
            x = rng.standard_normal((len(number), dimension), dtype=np.float32)
            writer.append(x, references=where | {"token": number % 50_000})


def measure(call: str, path: Path, latents: int, k: int) -> str:
    """Return a call's cost: MiB before it and at its peak, and CPU seconds."""
    with sdl.ActivationStore(path) as store:
        config = ModelConfig(activation="topk", k=k, n_q=latents)
        sae = sdl.Dictionary(SparseCoder(config, (store.n_p,), (store.n_p,), torch_stream(0, "codes_memory")))
        before, started = resident(), time.process_time()
        CALLS[call](sae, store)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        spent = time.process_time() - started
    return f"{call}: {before:,.0f} MiB before, {peak:,.0f} MiB at the peak, {spent:,.0f} CPU seconds"


def main() -> None:
    """Measure all calls, or a single one on an existing store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calls", nargs="+", choices=CALLS, default=list(CALLS))
    parser.add_argument("--store", type=Path, help="measure the one call here, and leave the store")
    for name, default in (("rows", 1_000_000), ("dimension", 576), ("latents", 16_384), ("k", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    if asked.store:
        print(measure(asked.calls[0], asked.store, asked.latents, asked.k), flush=True)
        return
    print(describe()["cpu"], f"{asked.rows:,} x {asked.dimension}, {asked.latents:,} latents, k = {asked.k}", sep="\n")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        write(store := Path(folder) / "x.h5", asked.rows, asked.dimension)
        for call in asked.calls:
            here = [sys.executable, "-m", "benchmarks.codes_memory", folder, "--store", store, "--calls", call]
            subprocess.run([*here, "--latents", str(asked.latents), "--k", str(asked.k)], check=True)


if __name__ == "__main__":
    main()
