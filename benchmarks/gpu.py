"""Measure on a GPU what a CPU cannot show: `make gpu-benchmark`, resumable.

    make gpu-benchmark                                       # on a GPU; no network, nothing is installed
    make gpu-benchmark ARGS="--only steps"                   # one measurement
    make gpu-benchmark ARGS="--device cpu --tiny"            # a rehearsal on a CPU: Triton's kernels are interpreted

Measurements, in order: `equality` (does training on the GPU follow training on the CPU?) and `steps` (milliseconds and
memory of a TopK step, beside sparsify, SAELens and dictionary_learning). Each writes a CSV table in
benchmarks/results/gpu/CARD/ row by row, so a call can be ended at any time; the next one skips the rows that the tables
contain for this commit. Libraries that cannot be imported are named and left out; a case that fails is named at the
end. `make gpu-test` tests the kernels.
"""

import argparse
import gc
import logging
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import sdlcore as sdl
from benchmarks import machine
from benchmarks.cases import K, Setting
from benchmarks.libraries import load
from benchmarks.results import Row, read, to_csv
from benchmarks.states import weights
from peers.settings import DISTRIBUTIONS
from sdlcore.device import Device
from sdlcore.storage.files import atomic_path

log = logging.getLogger("benchmarks.gpu")


class Table:
    """A CSV file that grows row by row. Rows of another commit are measured again."""

    def __init__(self, path: Path, keys: Sequence[str], columns: Sequence[str]) -> None:
        self.path, self.keys, self.columns = path, keys, (*keys, *columns, "commit")
        self.commit = machine.commit()
        kept = read(path) if path.exists() else []
        self.rows: list[Row] = [row for row in kept if row["commit"] == self.commit]

    def missing(self, *key: Any) -> bool:
        """Whether the table lacks the row with these values of its key columns."""
        return not any([str(row[name]) for name in self.keys] == [str(value) for value in key] for row in self.rows)

    def add(self, row: Row) -> None:
        """Append a row and write the file; values without a column are left out."""
        self.rows.append({name: value for name, value in row.items() if name in self.columns} | {"commit": self.commit})
        with atomic_path(self.path) as part:
            part.write_text(to_csv(self.rows, self.columns))
        log.info("%s", ", ".join(f"{name} {row[name]}" for name in self.columns if name in row))


@dataclass(frozen=True)
class Way:
    """A library with its kernels and the type of its products."""

    library: str
    package: str
    """Package that must be importable."""
    dtype: str = "float32"
    kernels: str = ""


WAYS = (
    Way("sdlcore", "triton", kernels="triton"),
    Way("sdlcore", "triton", "bfloat16", kernels="triton"),
    Way("sparsify", "sparsify", "tf32"),
    Way("dictionary_learning", "dictionary_learning", "tf32"),
    Way("saelens", "sae_lens", "tf32"),
    Way("sdlcore", "torch", kernels="torch"),
    Way("sdlcore", "torch", "bfloat16", kernels="torch"),
    Way("dictionary_learning", "dictionary_learning"),
    Way("saelens", "sae_lens"),
)
"""In the order of timing, in case time runs out. sparsify chooses tf32 itself; the other libraries use the type that
torch is set to."""


@dataclass(frozen=True)
class Size:
    """The shape of a timed step."""

    dimension: int
    latents: int
    batch: int
    k: int = K


SIZES = (Size(4096, 131_072, 4096), Size(4096, 131_072, 16_384), Size(768, 16_000, 4096), Size(768, 16_000, 16_384))
TINY = Size(16, 96, 8, k=4)


def steps(folder: Path, device: str, tiny: bool) -> list[str]:
    """Time a step of each way at each size; return what failed."""
    keys = ("library", "kernels", "dtype", "dimension", "latents", "batch", "k")
    table = Table(folder / "steps.csv", keys, ("ms_per_step", "peak_mb", "ms_least", "ms_most", "steps", "l0"))
    failed = []
    for way in WAYS:
        if find_spec(way.package) is None:
            log.warning("not installed, and so not timed: %s", way.package)
            continue
        for size in (TINY,) if tiny else SIZES:
            case = asdict(way) | asdict(size)
            if table.missing(*(case[key] for key in keys)):
                try:
                    table.add(case | timed(way, size, device))
                except Exception as error:  # the other cases are still worth their time
                    log.exception("failed: %s at %s", way, size)
                    failed.append(f"steps of {way.library} in {way.dtype}: {error!r}")
    return failed


METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk", "k": 8},
    "batchtopk": {"activation": "batchtopk", "k": 8},
    "matryoshka": {"activation": "batchtopk", "k": 8, "prefixes": [32, 128, 512]},
    "relu": {"activation": "relu", "l1": 0.05},
    "jumprelu": {"activation": "jumprelu", "l0": 0.001},
    "gated": {"activation": "gated", "l1": 0.05},
}


def equality(folder: Path, device: Device, tiny: bool) -> list[str]:
    """Train each method on the CPU and on the device from equal weights and batches, and compare.

    The first step starts from equal weights, so its losses differ by rounding alone: a reconstruction error sums
    products of n_p terms, each with a relative error of at most n_p eps, so the squared error differs by at most a few
    times n_p eps. Later steps may choose other latents at near ties, so later differences are reported, not judged.
    Returned are the methods whose first losses differ by more than 8 n_p eps.
    """
    bench = sdl.standard_bench("lrb-s")
    x, _ = bench.sample(2_000 if tiny else None)
    columns = ("first_loss", "last_loss", "recovery_cpu", "recovery_device", "seconds_cpu", "seconds_device")
    table = Table(folder / "equality.csv", ("method",), columns)
    how: dict[str, Any] = {"n_q": 512, "steps": 10 if tiny else 300, "batch_size": 256, "log_every": 1}
    how |= {"normalise": False, "resample_every": None, "progress": False}
    for name, settings in METHODS.items():
        if not table.missing(name):
            continue
        losses, recovery, seconds = [], [], []
        for where in ("cpu", device):
            started = time.perf_counter()
            trained = sdl.fit(x, device=where, **how, **settings)
            seconds.append(time.perf_counter() - started)
            losses.append([row["loss"] for row in trained.history])
            recovery.append(sdl.evaluate(trained, bench)["gt_recovery_decoder_tau95"])
        relative = [abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)]
        values = (relative[0], relative[-1], *recovery, *seconds)
        table.add({"method": name} | dict(zip(columns, values, strict=True)))
    bound = 8 * x.shape[1] * float(np.finfo(np.float32).eps)
    return [
        f"the first loss of {row['method']} differs by {row['first_loss']}, more than {bound:.1e}"
        for row in table.rows
        if float(row["first_loss"]) > bound
    ]


def samples(W: Tensor, batch: int, seed: int) -> Tensor:
    """Return sums of 32 dictionary rows with noise. Frequencies are skewed: a row's number is u^3 n with uniform u."""
    generator = torch.Generator(W.device).manual_seed(seed)
    parts = []
    for start in range(0, batch, 1024):
        shape = min(1024, batch - start), 32
        features = (torch.rand(shape, generator=generator, device=W.device) ** 3 * len(W)).long()
        sizes = torch.rand(shape, generator=generator, device=W.device)
        parts.append(functional.embedding_bag(features, W, mode="sum", per_sample_weights=sizes))
    x = torch.cat(parts)
    return x + 0.1 * torch.randn(x.shape, generator=generator, device=W.device) / x.shape[1] ** 0.5


def timed(way: Way, size: Size, device: str) -> dict[str, Any]:
    """Return the median milliseconds of up to 20 steps, and the peak memory of training in MiB, weights included."""
    tf32 = way.dtype == "tf32"
    dtype = "float32" if tf32 else way.dtype
    setting = Setting("topk", dtype, **asdict(size), device=device, kernels=way.kernels)
    make = load(way.library)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    generator = torch.Generator(device).manual_seed(setting.seed)
    W = functional.normalize(torch.randn(size.latents, size.dimension, generator=generator, device=device))
    x = samples(W, size.batch, setting.seed)
    trainee = make(setting, weights(W.cpu(), torch.zeros(()), setting.method))
    del W
    gc.collect()  # frees the memory of the case before
    _wait(device)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        machine.reset_peak()
    for _ in range(3):
        trainee.step(x)
    times: list[float] = []
    while len(times) < 3 or (len(times) < 20 and sum(times) < 6000):
        _wait(device)
        started = time.perf_counter()
        trainee.step(x)
        _wait(device)
        times.append(1000 * (time.perf_counter() - started))
    peak = torch.cuda.max_memory_allocated() / machine.MIB if device == "cuda" else machine.peak()
    median, least, most = statistics.median(times), min(times), max(times)
    found = {"ms_per_step": median, "ms_least": least, "ms_most": most, "steps": len(times), "peak_mb": peak}
    return found | {"l0": trainee.l0(x)}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _versions() -> Iterator[str]:
    for name in ("torch", "triton", "numpy", *DISTRIBUTIONS.values()):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


MEASUREMENTS = {"equality": equality, "steps": steps}


def main(arguments: Sequence[str]) -> None:
    """Run the measurements whose rows are missing.

    Raises
    ------
    SystemExit
        If torch finds no GPU, or, after the last measurement, if a case failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a rehearsal")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=MEASUREMENTS)
    parser.add_argument("--results", type=Path, help="folder (default: benchmarks/results/gpu/CARD)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU; --device cpu --tiny rehearses the measurements on a CPU")
    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    if options.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    card = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    folder = options.results or Path(__file__).parent / "results/gpu" / re.sub(r"[^a-z0-9]+", "-", card.lower())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "versions.txt").write_text("\n".join(_versions()) + "\n")
    if failed := [what for name in options.only for what in MEASUREMENTS[name](folder, options.device, options.tiny)]:
        sys.exit("\n".join(["failed:", *failed]))


if __name__ == "__main__":
    main(sys.argv[1:])
