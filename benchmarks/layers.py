"""Time one pass that fills the stores of several layers, beside one pass for each layer.

Each measurement is a process of its own, so that its peak memory is its own. The stores are compared bit by bit:

    python -m benchmarks.layers MODEL TEXT --layers 2 4 6 8 10 12 14 16 --tokens 200000

MODEL is a folder with a transformers checkpoint, TEXT a text as `sdl.extract` takes it. It prints a Markdown table.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

import sdlcore as sdl


def measured(model: str, text: str, layers: list[int], tokens: int, out: Path, threads: int) -> dict[str, float]:
    """Extract some layers by one pass in a process of its own; return seconds, processor seconds and peak memory in MB.

    Importing and loading the model count, as a user would wait for them.
    """
    call = [sys.executable, "-m", "benchmarks.layers", "--worker", model, text, "--out", str(out)]
    call += ["--tokens", str(tokens), "--threads", str(threads), "--layers", *map(str, layers)]
    began = time.perf_counter()
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": time.perf_counter() - began}


def work(options: argparse.Namespace) -> None:
    """Extract, and print the processor seconds and the peak memory of the process."""
    torch.set_num_threads(options.threads)
    stores = sdl.extract_layers(
        options.model, options.text, layers=options.layers, tokens=options.tokens, out=options.out, progress=False
    )
    for store in stores:
        store.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"processor": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}))


def same(one: Path, other: Path) -> bool:
    """Compare two stores, bit by bit."""
    with sdl.ActivationStore(one) as first, sdl.ActivationStore(other) as second:
        columns = first.columns()
        if columns != second.columns() or first.rows != second.rows:
            return False
        blocks = range(0, first.rows, 8192)
        return all(
            np.array_equal(first.read(name, start, start + 8192), second.read(name, start, start + 8192))
            for name in columns
            for start in blocks
        )


def compare(options: argparse.Namespace) -> str:
    """Measure both ways, and return the table."""
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        extracted = partial(measured, options.model, options.text, tokens=options.tokens, threads=options.threads)
        together = extracted(layers=options.layers, out=Path(folder) / "together")
        alone = {layer: extracted(layers=[layer], out=Path(folder) / "alone") for layer in options.layers}
        stores = [f"layer_{layer}.h5" for layer in options.layers]
        equal = all(same(Path(folder) / "together" / name, Path(folder) / "alone" / name) for name in stores)
    deepest = alone[max(options.layers)]
    for_each = {key: sum(one[key] for one in alone.values()) for key in ("seconds", "processor")}
    for_each["peak_mb"] = max(one["peak_mb"] for one in alone.values())
    rows = {
        "one pass for all": together,
        f"the deepest layer alone ({max(options.layers)})": deepest,
        "a pass for each": for_each,
    }
    lines = ["| way | seconds | processor seconds | processor, times the deepest layer alone | peak memory, MB |"]
    lines.append("|---|---|---|---|---|")
    for name, found in rows.items():
        times = found["processor"] / deepest["processor"]
        lines.append(
            f"| {name} | {found['seconds']:.0f} | {found['processor']:.0f} | {times:.2f} | {found['peak_mb']:.0f} |"
        )
    said = f"{len(options.layers)} layers ({', '.join(map(str, options.layers))}), {options.tokens} rows, "
    said += f"{options.threads} threads. Equal bits: {'yes' if equal else 'NO'}."
    return "\n".join([*lines, "", said])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 4, 6, 8, 10, 12, 14, 16])
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=None, help="a folder with room for twice the stores")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
    else:
        print(compare(options))


if __name__ == "__main__":
    main()
