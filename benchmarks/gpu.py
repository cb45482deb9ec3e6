"""Measure on a GPU what a CPU cannot show: `make gpu-benchmark`, resumable, nine minutes a call.

    make gpu-benchmark                                       # on a GPU; no network, nothing is installed
    make gpu-benchmark ARGS="--only memory"                  # one measurement
    make gpu-benchmark ARGS="--device cpu --tiny"            # a rehearsal on a CPU: Triton's kernels are interpreted

Measurements, in order: `equality` (does training on the GPU follow training on the CPU?), `steps` (milliseconds and
memory of a TopK step, beside sparsify, SAELens and dictionary_learning), and `memory` (by batch size). Each writes a
CSV table in benchmarks/results/gpu/CARD/ row by row. A call skips the rows that the tables contain for this commit.
Libraries that cannot be imported are named and left out; a row that fails is named at the end. `make gpu-test` tests
the kernels.
"""

import argparse
import json
import logging
import os
import re
import statistics
import subprocess
import sys
import tempfile
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

ROOT = Path(__file__).parents[1]
SECONDS = 540
"""Time of one call, so that it ends within ten minutes."""
LEAST = 20
"""No row is started with fewer seconds left."""


class OutOfTimeError(Exception):
    """The call has used its time; the next one continues."""


class CaseError(RuntimeError):
    """A timed process failed; the message ends with the cause."""


@dataclass
class Call:
    """One call of the command: its device, its folder, and the time when it ends."""

    folder: Path
    device: Device
    tiny: bool
    ends: float

    @property
    def left(self) -> float:
        """Seconds that are left.

        Raises
        ------
        OutOfTimeError
            If they are too few for a row.
        """
        left = self.ends - time.monotonic()
        if left < LEAST:
            raise OutOfTimeError
        return left


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


def steps(call: Call) -> None:
    """Time a step of each way at each size.

    Raises
    ------
    CaseError
        If a case failed, after all others were timed.
    """
    keys = ("library", "kernels", "dtype", "dimension", "latents", "batch", "k")
    table = Table(call.folder / "steps.csv", keys, ("ms_per_step", "peak_mb", "ms_least", "ms_most", "steps", "l0"))
    failed = []
    for way in WAYS:
        if find_spec(way.package) is None:
            log.warning("not installed, and so not timed: %s", way.package)
            continue
        for size in (TINY,) if call.tiny else SIZES:
            case = asdict(way) | asdict(size)
            if table.missing(*(case[key] for key in keys)):
                try:
                    table.add(case | timed_case(way, size, call.device, call.left))
                except CaseError as error:
                    log.error("failed: %s at %s: %s", way, size, error)
                    failed.append(f"{way.library} {way.dtype}")
    if failed:
        raise CaseError(f"{len(failed)} cases failed: {', '.join(failed)}")


def memory(call: Call) -> None:
    """Measure peak memory by batch size, beside four copies of the weights (weights, gradients, Adam's moments).

    Gradients of sparse codes need no dense copy, so less than four copies is possible.
    """
    table = Table(call.folder / "memory.csv", ("dtype", "batch"), ("peak_mb", "four_copies_mb", "ms_per_step"))
    first = TINY if call.tiny else SIZES[0]
    for dtype in ("float32", "bfloat16"):
        for batch in (TINY.batch,) if call.tiny else (1024, 4096, 16_384, 65_536):
            if table.missing(dtype, batch):
                size = Size(first.dimension, first.latents, batch, first.k)
                row = timed_case(Way("sdlcore", "triton", dtype, kernels="triton"), size, call.device, call.left)
                copies = 4 * 2 * size.dimension * size.latents * 4 / machine.MIB
                table.add(row | {"dtype": dtype, "batch": batch, "four_copies_mb": copies})


METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk", "k": 8},
    "batchtopk": {"activation": "batchtopk", "k": 8},
    "matryoshka": {"activation": "batchtopk", "k": 8, "prefixes": [32, 128, 512]},
    "relu": {"activation": "relu", "l1": 0.05},
    "jumprelu": {"activation": "jumprelu", "l0": 0.001},
    "gated": {"activation": "gated", "l1": 0.05},
}


def equality(call: Call) -> None:
    """Train each method on the CPU and on the device from equal weights and batches, and compare.

    The first step starts from equal weights, so its losses differ by rounding alone: a reconstruction error sums
    products of n_p terms, each with a relative error of at most n_p eps, so the squared error differs by at most a few
    times n_p eps. Later steps may choose other latents at near ties, so later differences are reported, not judged.

    Raises
    ------
    CaseError
        If a first loss differs by more than 8 n_p eps.
    """
    bench = sdl.standard_bench("lrb-s")
    x, _ = bench.sample(2_000 if call.tiny else None)
    columns = ("first_loss", "last_loss", "recovery_cpu", "recovery_device", "seconds_cpu", "seconds_device")
    table = Table(call.folder / "equality.csv", ("method",), columns)
    how: dict[str, Any] = {"n_q": 512, "steps": 10 if call.tiny else 300, "batch_size": 256, "log_every": 1}
    how |= {"normalise": False, "resample_every": None, "progress": False}
    for name, settings in METHODS.items():
        if not table.missing(name) or not call.left:
            continue
        losses, recovery, seconds = [], [], []
        for where in ("cpu", call.device):
            started = time.perf_counter()
            trained = sdl.fit(x, device=where, **how, **settings)
            seconds.append(time.perf_counter() - started)
            losses.append([row["loss"] for row in trained.history])
            recovery.append(sdl.evaluate(trained, bench)["gt_recovery_decoder_tau95"])
        relative = [abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)]
        values = (relative[0], relative[-1], *recovery, *seconds)
        table.add({"method": name} | dict(zip(columns, values, strict=True)))
    bound = 8 * x.shape[1] * float(np.finfo(np.float32).eps)
    if wrong := [str(row["method"]) for row in table.rows if float(row["first_loss"]) > bound]:
        raise CaseError(f"the first loss differs by more than {bound:.1e} for {', '.join(wrong)}")


def timed_case(way: Way, size: Size, device: str, seconds: float) -> dict[str, Any]:
    """Time one case in its own process, so that memory belongs to the case alone."""
    tf32 = way.dtype == "tf32"
    dtype = "float32" if tf32 else way.dtype
    setting = Setting("topk", dtype, size.dimension, size.latents, size.k, device=device, kernels=way.kernels)
    request = json.dumps({"library": way.library, "tf32": tf32, "setting": {**asdict(setting), "batch": size.batch}})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), str(ROOT / "src"), str(ROOT / "workflow"), os.environ.get("PYTHONPATH", "")]
    )
    if device == "cpu":
        environment["TRITON_INTERPRET"] = "1"
    with tempfile.NamedTemporaryFile("r", prefix="sdlcore-gpu-") as answer:
        command = [sys.executable, "-m", "benchmarks.gpu", "--case", request, "--answer", answer.name]
        try:
            process = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise CaseError("it took all the time that was left") from None
        if process.returncode:
            raise CaseError(process.stderr[-4000:].strip() or f"its process ended with {process.returncode}")
        found: dict[str, Any] = json.load(answer)
        return found


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


def timed(library: str, setting: Setting, tf32: bool) -> dict[str, Any]:
    """Return the median milliseconds of up to 20 steps, and the peak memory of training in MiB, weights included."""
    make = load(library)
    if tf32:
        torch.set_float32_matmul_precision("high")
    device = setting.device
    generator = torch.Generator(device).manual_seed(setting.seed)
    W = functional.normalize(torch.randn(setting.latents, setting.dimension, generator=generator, device=device))
    x = samples(W, setting.batch, setting.seed)
    trainee = make(setting, weights(W.cpu(), torch.zeros(()), setting.method))
    del W
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


MEASUREMENTS = (equality, steps, memory)


def main(arguments: Sequence[str]) -> None:
    """Run the measurements whose rows are missing, as far as the time goes.

    Raises
    ------
    SystemExit
        If torch finds no GPU, or, after the last measurement, if one failed.
    """
    names = [measurement.__name__ for measurement in MEASUREMENTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a rehearsal")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time of this call (default: %(default)s)")
    parser.add_argument("--results", type=Path, help="folder (default: benchmarks/results/gpu/CARD)")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        request = json.loads(options.case)
        setting = Setting(**{**request["setting"], "prefixes": tuple(request["setting"]["prefixes"])})
        options.answer.write_text(json.dumps(timed(request["library"], setting, request["tf32"])))
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU; --device cpu --tiny rehearses the measurements on a CPU")
    card = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    folder = options.results or Path(__file__).parent / "results/gpu" / re.sub(r"[^a-z0-9]+", "-", card.lower())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "versions.txt").write_text("\n".join(_versions()) + "\n")
    call = Call(folder, options.device, options.tiny, time.monotonic() + options.seconds)
    failed = {}
    for measurement in MEASUREMENTS:
        if measurement.__name__ in options.only:
            try:
                measurement(call)
            except OutOfTimeError:
                log.info("no time is left; the same command continues with %s", measurement.__name__)
                break
            except Exception as error:  # the other measurements are still worth their time
                log.exception("failed: %s", measurement.__name__)
                failed[measurement.__name__] = str(error).splitlines()[-1] if str(error) else repr(error)
    if failed:
        sys.exit("\n".join(f"{name} failed: {why}" for name, why in failed.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
