"""Time one pass that fills the stores of several layers, beside one pass for each layer.

    python -m benchmarks.layers MODEL TEXT --layers 2 4 6 8 10 12 14 16 --tokens 200000 --csv results/layers.csv

MODEL is a folder with a transformers checkpoint, TEXT a text as `sdl.extract` takes it. Each measurement is a process
of its own, so that its peak memory is its own. The stores are compared bit by bit. A measurement adds a row to the
table at once; the same call skips rows that are there, so an interrupted call resumes. It prints a Markdown table.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import sdlcore as sdl
from sdlcore.pipeline import write_text

KEYS = ["layers", "tokens", "threads"]
"""Columns that identify a measurement."""


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
    """Time the passes that the file ``csv`` lacks, add each to the file, and return the table of all as Markdown."""
    together, alone = (options.out / name for name in ("together", "alone"))
    _measure(options, options.layers, together)
    deepest = max(options.layers)
    others = [] if options.deepest else sorted(set(options.layers) - {deepest})
    for layer in (deepest, *others):
        if _found(options, [layer]) is not None:
            continue
        if not together.exists():  # measured by an earlier call, whose stores are gone
            work(argparse.Namespace(**{**vars(options), "out": together}))
        _measure(options, [layer], alone, together)
    return markdown(options)


def _found(options: argparse.Namespace, layers: Sequence[int]) -> dict[str, Any] | None:
    """Return the measurement of one pass for some layers, or None if the table lacks it."""
    key = [" ".join(map(str, layers)), options.tokens, options.threads]
    table = _table(options.csv)
    rows = table[(table[KEYS] == key).all(axis=1)]
    return None if rows.empty else dict(rows.iloc[0])


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"layers": str}) if path.exists() else pd.DataFrame(columns=KEYS)


def _measure(options: argparse.Namespace, layers: Sequence[int], out: Path, other: Path | None = None) -> None:
    """Time one pass and add it to the file ``csv``. Compare its stores with the stores in another folder, if given."""
    if _found(options, layers) is not None:
        return
    shutil.rmtree(out, ignore_errors=True)
    row = {"layers": " ".join(map(str, layers)), "tokens": options.tokens, "threads": options.threads}
    row |= measured(options.model, options.text, list(layers), options.tokens, out, options.threads)
    if other is not None:
        row["equal_bits"] = all(same(out / name, other / name) for name in (f"layer_{each}.h5" for each in layers))
        shutil.rmtree(out)
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([*_table(options.csv).to_dict("records"), row])
    write_text(options.csv, table.to_csv(index=False, lineterminator="\n", float_format="%.4g"))


def markdown(options: argparse.Namespace) -> str:
    """Return the measurements as a Markdown table."""
    layers: list[int] = options.layers
    alone = {layer: found for layer in layers if (found := _found(options, [layer])) is not None}
    deepest = alone[max(layers)]
    together = _found(options, layers)
    assert together is not None, "compare() measures it first"
    rows = {"one pass for all": together, f"the deepest layer alone ({max(layers)})": deepest}
    if len(alone) == len(layers):
        rows["a pass for each"] = {
            **{key: sum(one[key] for one in alone.values()) for key in ("seconds", "processor")},
            "peak_mb": max(one["peak_mb"] for one in alone.values()),
        }
    lines = ["| way | seconds | processor seconds | processor, times the deepest layer alone | peak memory, MB |"]
    lines.append("|---|---|---|---|---|")
    for name, found in rows.items():
        times = found["processor"] / deepest["processor"]
        lines.append(
            f"| {name} | {found['seconds']:.0f} | {found['processor']:.0f} | {times:.2f} | {found['peak_mb']:.0f} |"
        )
    said = f"{len(layers)} layers ({', '.join(map(str, layers))}), {options.tokens} rows, {options.threads} threads. "
    said += f"Equal bits: {'yes' if all(one['equal_bits'] for one in alone.values()) else 'NO'}."
    return "\n".join([*lines, "", said])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 4, 6, 8, 10, 12, 14, 16])
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("results/layers"), help="folder of the stores")
    parser.add_argument("--csv", type=Path, default=Path("results/layers.csv"), help="table to write or continue")
    parser.add_argument("--deepest", action="store_true", help="of single layers, measure the deepest only")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
    else:
        print(compare(options))


if __name__ == "__main__":
    main()
