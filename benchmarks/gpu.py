"""Time training steps of sdlcore and its peers on a GPU: see benchmarks/README.md."""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.cases import K, Setting
from benchmarks.gpu_results import write

log = logging.getLogger("benchmarks.gpu")

ROOT = Path(__file__).parents[1]
SECONDS = 540
"""Time limit of a run, so that it needs less than ten minutes."""
_LEAST = 20
"""Least remaining seconds for starting another case."""


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
    dimension: int
    latents: int
    batch: int
    k: int = K


SIZES = (Size(4096, 131_072, 4096), Size(4096, 131_072, 16_384), Size(768, 16_000, 4096), Size(768, 16_000, 16_384))
TINY = (Size(16, 96, 8, k=4),)
"""A size that shows whether the benchmark runs, when Triton's kernels are interpreted."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--device", default="cuda", choices=("cuda", "cpu"), help="cpu: Triton's kernels are interpreted"
    )
    parser.add_argument("--tiny", action="store_true", help="a size that shows that the benchmark runs")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="in which it ends (default: %(default)s)")
    parser.add_argument("--results", type=Path, help="folder (default: benchmarks/results/gpu/CARD)")
    return parser.parse_args(arguments)


def cases(sizes: Sequence[Size]) -> Iterator[tuple[Way, Size]]:
    """Yield the cases in the order of timing: for each way, all sizes."""
    for way in WAYS:
        for size in sizes:
            yield way, size


def main(arguments: Sequence[str]) -> None:
    """Time all cases, and write every row as soon as it is known.

    Raises
    ------
    SystemExit
        If there is no such device; or if a case failed, after all others were timed.
    """
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; --device cpu --tiny shows whether the benchmark runs")
    ends = time.monotonic() + options.seconds
    card = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    folder = options.results or Path(__file__).parent / "results/gpu" / re.sub(r"[^a-z0-9]+", "-", card.lower())
    missing = sorted({way.package for way in WAYS if find_spec(way.package) is None})
    facts: dict[str, Any] = {
        "card": card,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": machine.commit(),
        "missing": missing,
        "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        "failed": {},
        "left_out": [],
    }
    rows: list[dict[str, Any]] = []
    write(folder, rows, facts)
    for way, size in cases(TINY if options.tiny else SIZES):
        if way.package in missing:
            continue
        kernels = f" ({way.kernels})" if way.kernels else ""
        name = f"{way.library}{kernels} {way.dtype}: {size.dimension} -> {size.latents}, batch {size.batch}"
        left = ends - time.monotonic()
        if left < _LEAST:
            facts["left_out"].append(name)
            continue
        try:
            answer = timed_case(way, size, options.device, left)
            facts["versions"] |= answer.pop("versions")
            rows.append({**asdict(way), **asdict(size), **answer})
            log.info("%-70s %9.2f ms %9.0f MiB", name, answer["ms_per_step"], answer["peak_mb"])
        except CaseError as error:
            log.error("failed: %s: %s", name, error)
            facts["failed"][name] = str(error).splitlines()[-1]
        write(folder, rows, facts)
    write(folder, rows, facts)
    log.info("wrote %s; not installed: %s", folder, ", ".join(missing) or "nothing")
    if facts["failed"]:
        sys.exit(f"{len(facts['failed'])} cases failed, and all others are in {folder}")


class CaseError(RuntimeError):
    """A case failed; the message ends with the cause."""


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
    command = [sys.executable, "-m", "benchmarks.gpu_case", request]
    with tempfile.NamedTemporaryFile("r", prefix="sdlcore-gpu-") as answer:
        try:
            process = subprocess.run(
                [*command, answer.name], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise CaseError("it took all the time that was left") from None
        if process.returncode:
            said = process.stderr[-4000:].strip() or f"its process ended with {process.returncode}"
            raise CaseError(said)
        found: dict[str, Any] = json.load(answer)
        return found


if __name__ == "__main__":
    main(sys.argv[1:])
