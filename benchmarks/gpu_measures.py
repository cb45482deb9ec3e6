"""Measurements of `make gpu-study`, one a process: ``python -m benchmarks.gpu_measures NAME --folder FOLDER``.

Each writes FOLDER/NAME.csv after every row, and skips rows that the file already contains for this commit.
"""

import argparse
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sdlcore as sdl
from benchmarks import machine
from benchmarks.gpu import Size, Way, timed_case
from benchmarks.results import Row, read, to_csv
from sdlcore.device import Device
from sdlcore.storage.files import atomic_path

log = logging.getLogger("benchmarks.gpu_measures")

SEEDS = (0, 1, 2)
METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk", "k": 8},
    "batchtopk": {"activation": "batchtopk", "k": 8},
    "matryoshka": {"activation": "batchtopk", "k": 8, "prefixes": [32, 128, 512]},
    "relu": {"activation": "relu", "l1": 0.05},
    "jumprelu": {"activation": "jumprelu", "l0": 0.001},
    "gated": {"activation": "gated", "l1": 0.05},
}
EQUALITY_STEPS = 300
EPSILON = float(np.finfo(np.float32).eps)


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


def equality(folder: Path, device: Device, tiny: bool) -> None:
    """Train each method on the CPU and on the device from equal weights and batches, and compare.

    The first step starts from equal weights, so its losses differ by rounding alone: a reconstruction error sums
    products of n_p terms, each with a relative error of at most n_p eps, so the squared error differs by at most a few
    times n_p eps. Later steps may choose other latents at near ties, so later differences are reported, not judged.

    Raises
    ------
    SystemExit
        If a first loss differs by more than 8 n_p eps.
    """
    bench = sdl.standard_bench("lrb-s")
    x, _ = bench.sample(2_000 if tiny else None)
    steps = 10 if tiny else EQUALITY_STEPS
    table = Table(
        folder / "equality.csv",
        ("method",),
        ("first_loss", "last_loss", "recovery_cpu", "recovery_device", "seconds_cpu", "seconds_device"),
    )
    bound = 8 * x.shape[1] * EPSILON
    for name, settings in METHODS.items():
        if not table.missing(name):
            continue
        losses, recovery, seconds = [], [], []
        for where in ("cpu", device):
            started = time.perf_counter()
            how: dict[str, Any] = {"n_q": 512, "steps": steps, "batch_size": 256, "log_every": 1, "normalise": False}
            how["resample_every"] = None
            trained = sdl.fit(x, device=where, progress=False, **how, **settings)
            seconds.append(time.perf_counter() - started)
            losses.append([row["loss"] for row in trained.history])
            recovery.append(sdl.evaluate(trained, bench)["gt_recovery_decoder_tau95"])
        relative = [abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)]
        values = (relative[0], relative[-1], *recovery, *seconds)
        table.add({"method": name} | dict(zip(table.columns[1:-1], values, strict=True)))
    wrong = [str(row["method"]) for row in table.rows if float(row["first_loss"]) > bound]
    if wrong:
        sys.exit(f"the first loss differs by more than {bound:.1e} for {', '.join(wrong)}")


def memory(folder: Path, device: Device, tiny: bool) -> None:
    """Measure peak memory by batch size, beside four copies of the weights (weights, gradients, Adam's moments).

    Gradients of sparse codes need no dense copy, so less than four copies is possible.
    """
    dimension, latents, k = (16, 96, 4) if tiny else (4096, 131_072, 64)
    batches = (8,) if tiny else (1024, 4096, 16_384, 65_536)
    table = Table(folder / "memory.csv", ("dtype", "batch"), ("peak_mb", "four_copies_mb", "ms_per_step"))
    four = 4 * 2 * dimension * latents * 4 / 2**20
    for dtype in ("float32", "bfloat16"):
        for batch in batches:
            if table.missing(dtype, batch):
                size = Size(dimension, latents, batch, k)
                row = timed_case(Way("sdlcore", "triton", dtype, kernels="triton"), size, device, 120.0)
                table.add(row | {"dtype": dtype, "batch": batch, "four_copies_mb": four})


def table1(folder: Path, device: Device, tiny: bool) -> None:
    """Train the TopK row of Table 1 at the paper's scale, three seeds, with the settings of config/paper.yaml."""
    bench = sdl.standard_bench("lrb-s" if tiny else "lrb-m")
    sizes: dict[str, Any] = {"n_q": 512, "k": 8, "steps": 20} if tiny else {"n_q": 16_000, "k": 64, "steps": 784}
    sizes |= {"normalise": False, "bias": False, "resample_every": None}
    columns = ("gt_recovery_encoder_tau95", "gt_recovery_decoder_tau95", "mip_encoder", "mip_decoder", "fvu", "l0")
    table = Table(folder / "table1.csv", ("method", "seed"), (*columns, "seconds"))
    x, _ = bench.sample(4_000 if tiny else None)
    for seed in SEEDS[: 1 if tiny else None]:
        if table.missing("topk", seed):
            started = time.perf_counter()
            trained = sdl.fit(x, activation="topk", batch_size=1024, seed=seed, device=device, progress=False, **sizes)
            seconds = time.perf_counter() - started
            scores = sdl.evaluate(trained, bench)
            found = {name: scores[name] for name in columns}
            table.add({"method": "topk", "seed": seed, "seconds": seconds} | found)


def extraction(folder: Path, device: Device, tiny: bool) -> None:
    """Time extraction from a language model with random weights, beside its bare forward pass over as many tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    width, blocks, context, tokens = (32, 4, 64, 2_000) if tiny else (2048, 16, 1024, 400_000)
    words = [f"w{number}" for number in range(1000)]
    rules = Tokenizer(models.WordLevel({word: number for number, word in enumerate([*words, "<eos>"])}, "w0"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rules, eos_token="<eos>")
    config = LlamaConfig(
        **{"vocab_size": len(words) + 1, "hidden_size": width, "intermediate_size": 4 * width},
        **{"num_hidden_layers": blocks, "num_attention_heads": width // 16 if tiny else 32, "num_key_value_heads": 2},
        max_position_embeddings=context,
    )
    torch.manual_seed(0)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = LlamaForCausalLM(config).to(device=device, dtype=dtype).eval()
    layer = 3 * blocks // 4
    draws = np.random.default_rng(0)
    documents = [" ".join(draws.choice(words, context)) for _ in range(2 * tokens // context)]
    table = Table(folder / "extraction.csv", ("contexts_per_batch",), ("tokens_per_second", "bare", "share"))
    for batch in (4,) if tiny else (8, 16, 32):
        if not table.missing(batch):
            continue
        ids = torch.randint(len(words), (batch, context), device=device)

        def bare(ids: torch.Tensor = ids) -> None:
            with torch.inference_mode():
                model.model(ids)

        forward = ids.numel() / _seconds(bare, device) * blocks / layer
        path = folder / "extraction.h5"
        path.unlink(missing_ok=True)
        started = time.perf_counter()
        sdl.extract(
            model, documents, layer=layer, out=path, tokens=tokens, tokenizer=tokenizer, context_length=context,
            contexts_per_batch=batch, progress=False,
        )  # fmt: skip
        rate = tokens / (time.perf_counter() - started)
        path.unlink()
        table.add({"contexts_per_batch": batch, "tokens_per_second": rate, "bare": forward, "share": rate / forward})


def _seconds(function: Callable[[], None], device: str) -> float:
    """Return the median time of three calls after one that warms up."""

    def times() -> Iterator[float]:
        for _ in range(4):
            started = time.perf_counter()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            yield time.perf_counter() - started

    return statistics.median(list(times())[1:])


MEASURES = {"equality": equality, "memory": memory, "table1": table1, "extraction": extraction}


def main(arguments: Sequence[str]) -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_measures", description=__doc__)
    parser.add_argument("name", choices=MEASURES)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a rehearsal")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options.folder.mkdir(parents=True, exist_ok=True)
    MEASURES[options.name](options.folder, options.device, options.tiny)


if __name__ == "__main__":
    main(sys.argv[1:])
