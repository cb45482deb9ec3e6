"""Train the runs that show whether anchors help features that are not anchored, one CSV row a run.

    python -m studies.anchoring_effect.runs resources/kept/anchoring_effect_runs.csv

The command resumes: a run whose row is in the file is skipped, and a row is written when its run is complete. Runs come
in an order of value, seed by seed, so that each complete seed can be compared.

The bench is the paper's: n = 1000 features in 768 dimensions, 16,000 latents, 100,000 samples, S = .99, M = .1. The
training is the protocol `best` at this scale (Adam, lr 1e-3, warm-up over 5 % and decay over the last 20 % of the
steps, batches of 1,024), but for the number of steps (`STEPS`), which a pilot chose (`anchoring_effect_pilot.csv`).

Every run of a seed is judged on the same features: those outside the first 100, which are the anchors. They are 900, or
1,300 on the bench `more`. Anchors are

- none;
- true: the first 100 or 30 features;
- random: the same features of another bench, drawn by the same rule from another seed;
- shuffled (pairs of sites only): true in the input, and another anchor's feature in the target.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse import csr_array

import sdlcore as sdl
from studies.tables import add, finished

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (60, 61, 62, 63, 64)
PILOT_SEEDS = (900, 901)
"""Seeds of the pilot that chose the steps. They are not scored."""
ANCHORED = 100
"""The first features, which no run is judged on."""
TEST = 2000
"""Samples that L0, dead latents and the unexplained variance are measured on."""
OTHER_BENCH = 10_000
"""Added to a seed for the bench that random anchors come from."""
SECOND_START = 500
"""Added to a seed for the second start."""
TAUS = {"80": 0.8, "90": 0.9, "95": 0.95}

SOURCES: dict[str, dict[str, Any]] = {
    "paper": {"n": 1000, "sparsity": 0.99},
    "denser": {"n": 1000, "sparsity": 0.95},
    "more": {"n": 1400, "sparsity": 0.99},
    "split": {"n": 1000, "sparsity": 0.99},
}
"""`split` has the paper's features in other samples (`split_coefficients`)."""
METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk", "k": 64},
    "relu": {
        **{"activation": "relu", "bias": True, "init_l0": 64},
        **{"l1": 0.1, "l1_scale": "decoder", "target_l0": 64},
    },
    "relu_paper": {
        **{"activation": "relu", "l1": 0.1, "l1_scale": "none"},
        **{"lr_warmup": 0.0, "lr_decay": 0.0},
    },
    "jumprelu": {
        **{"activation": "jumprelu", "init_l0": 64, "bandwidth": 0.4},
        **{"l0": 0.003, "l0_form": "step", "target_l0": 64},
    },
    "batchtopk": {"activation": "batchtopk", "k": 64},
    "transcoder": {"pair": "transcoder", "activation": "topk", "k": 64},
    "crosscoder": {"pair": "crosscoder", "activation": "topk", "k": 64},
}
"""`relu_paper` follows the protocol `paper`, in which kept runs showed the largest gain (`paper_relu_effects.csv`)."""
METHODS |= {f"{name}_fast": METHODS[name] | {"lr": 2e-3} for name in ("topk", "relu")}
"""Controls without anchors. Anchors of any direction gain much where gradients are clipped. If that gain is no more
than larger steps, twice the learning rate brings it without anchors. Predicted before their first run: more than 20
points in both."""
METHODS["relu_paper_sparser"] = METHODS["relu_paper"] | {"l1": 0.13}
"""Control: the penalty that brings `relu_paper` without anchors to the L0 that true anchors bring it to at S = .95
(about 500), chosen by L0 alone: on pilot seed 900, .15 leads to 451, and true anchors at .1 lead to 495. Predicted
before its first run: it recovers more than `relu_paper` without anchors, and less than with true anchors."""
COMMON: dict[str, Any] = {
    **{"n_q": 16_000, "bias": False, "initialisation": "linear", "decoder_norm": "free", "loss_scale": "sum"},
    **{"batch_size": 1024, "lr": 1e-3, "lr_warmup": 0.05, "lr_decay": 0.2, "lr_decay_shape": "linear"},
    **{"weight_decay": 0.0, "normalise": False, "whiten": False, "precision": "float32"},
}
"""All settings that matter, so that other defaults cannot change the runs."""
STEPS: dict[tuple[str, str], int] = {
    ("paper", "topk"): 80,
    ("paper", "relu"): 75,
    ("paper", "transcoder"): 80,
    ("paper", "crosscoder"): 75,
    ("paper", "batchtopk"): 100,
    ("paper", "jumprelu"): 150,
    ("denser", "topk"): 90,
    ("more", "topk"): 90,
    ("split", "topk"): 80,
    ("split", "relu"): 75,
    ("denser", "relu_paper"): 784,
    ("denser", "relu_paper_sparser"): 784,
    ("paper", "topk_fast"): 80,
    ("paper", "relu_fast"): 75,
}
"""Source and method -> steps, with which 30 to 80 % of the judged features are recovered without anchors in the pilot.
`split` repeats the steps of `paper`; `relu_paper` and its control repeat the steps of the stored runs."""


@dataclass(frozen=True)
class Run:
    """What identifies a run: the first columns of its row."""

    source: str
    method: str
    clip: bool
    """Whether the gradient's norm is clipped at 1."""
    steps: int
    anchors: str = "none"
    number: int = 0
    weight: float = 0.0
    seed: int = 0
    start: int = 0
    """1 for the second start: the same data, another initialisation and order of samples."""

    @property
    def pair(self) -> str:
        return self.method if self.method in ("transcoder", "crosscoder") else "sae"

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(str(getattr(self, field.name)) for field in fields(self))


COLUMNS = [field.name for field in fields(Run)]


def scored_runs() -> list[Run]:
    """Return every planned run once, the most decisive first."""
    both, unclipped = (False, True), (False,)
    pairs = ("true", "random", "shuffled")
    planned = [
        *_runs("paper", ("topk", "relu"), both, (10,)),
        *_runs("paper", ("topk", "relu"), both, (1,)),
        *_runs("paper", ("topk", "relu"), both, (100,)),
        *_runs("paper", ("topk_fast", "relu_fast"), unclipped, ()),
        *_runs("split", ("topk", "relu"), unclipped, (1, 100)),
        *_runs("paper", ("topk", "relu"), both, (1, 100), start=1),
        *_runs("paper", ("transcoder", "crosscoder"), unclipped, (1, 100), kinds=pairs),
        *_runs("paper", ("batchtopk", "jumprelu"), unclipped, (1, 100)),
        *_runs("denser", ("topk",), unclipped, (1, 100)),
        *_runs("more", ("topk",), unclipped, (1, 100)),
        *_runs("denser", ("relu_paper",), unclipped, (0.1,)),
        *_runs("denser", ("relu_paper_sparser",), unclipped, (0.1,), kinds=("random",)),
        *_runs("paper", ("topk", "relu"), both, (0.1,)),
        *_runs("paper", ("topk", "relu"), both, (0.1, 1, 10, 100), number=30),
    ]
    return list(dict.fromkeys(planned))


def _runs(
    source: str,
    methods: tuple[str, ...],
    clips: tuple[bool, ...],
    weights: tuple[float, ...],
    number: int = ANCHORED,
    kinds: tuple[str, ...] = ("true", "random"),
    start: int = 0,
) -> Iterator[Run]:
    """Yield runs seed by seed; each seed has its run without anchors first."""
    for seed in SEEDS:
        for method in methods:
            for clip in clips:
                without = Run(source, method, clip, STEPS[source, method], seed=seed, start=start)
                yield without
                for weight in weights:
                    for kind in kinds:
                        yield replace(without, anchors=kind, number=number, weight=float(weight))


@dataclass(frozen=True)
class Data:
    """Features and samples of one seed."""

    W_p: np.ndarray
    """Unit rows, n x 768."""
    W_r: np.ndarray | None
    train: Any
    """What `sdl.fit` takes: an array, or input and target."""
    test: Any
    with_anchor: np.ndarray
    """Share of each feature's active training samples in which one of the first 100 features is active."""


@lru_cache(1)
def data(source: str, two: bool, seed: int) -> Data:
    """Draw the bench of a seed: features, training samples and held-out samples."""
    bench = draw(source, two, seed)
    parts = []
    sizes: tuple[tuple[Literal["train", "test"], int], ...] = (("train", 100_000), ("test", TEST))
    for part, number in sizes:
        if source == "split":
            codes = split_coefficients(number, bench.W_p.shape[1], np.random.default_rng([seed, part == "test"]))
            parts.append(([np.asarray(codes @ bench.W_p.T, np.float32)], codes))
        else:
            drawn = bench.samples(number, part)
            sites = [drawn.input] if drawn.target is None else [drawn.input, drawn.target]
            parts.append((sites, drawn.features))
    (train, features), (test, _) = parts
    active = csr_array(features != 0, dtype=np.float32)
    beside = np.asarray(active[:, :ANCHORED].sum(1)).ravel() > 0
    with_anchor = np.asarray(active.T @ beside).ravel() / np.asarray(active.sum(0)).ravel()
    W_p, W_r = rows(bench.W_p), None if bench.W_r is None else rows(bench.W_r)
    return Data(W_p, W_r, train, test, with_anchor)


def draw(source: str, two: bool, seed: int) -> sdl.Bench:
    second: dict[str, Any] = {"n_r": 768} if two else {}
    return sdl.Bench.draw(seed=seed, n_p=768, max_interference=0.1, **second, **SOURCES[source])


def split_coefficients(number: int, n: int, rng: np.random.Generator) -> csr_array:
    """Draw samples in which half of the other features occur only beside anchored ones, and half only without.

    The first 100 features are active with probability .01, independently, as in the paper's bench. Feature 100, 102,
    ... can be active only in samples with one of the first 100, and feature 101, 103, ... only in the other samples.
    Their probabilities there are larger, so that every feature is active in 1 % of all samples.
    """
    p = 0.01
    beside = 1 - (1 - p) ** ANCHORED
    blocks = []
    for first in range(0, number, 8192):
        u = rng.random((min(8192, number - first), n))
        active = u < p
        some = active[:, :ANCHORED].any(1, keepdims=True)
        active[:, ANCHORED::2] = (u[:, ANCHORED::2] < p / beside) & some
        active[:, ANCHORED + 1 :: 2] = (u[:, ANCHORED + 1 :: 2] < p / (1 - beside)) & ~some
        at, columns = np.nonzero(active)
        blocks.append((at + first, columns, rng.exponential(1.0, len(at)).astype(np.float32)))
    at, columns, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return csr_array((values, (at, columns)), shape=(number, n))


def rows(W: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(W.T, np.float32)


def unit(W: np.ndarray) -> np.ndarray:
    return W / np.maximum(np.linalg.norm(W, axis=1, keepdims=True), 1e-12)


def anchors_of(run: Run, known: Data) -> list[np.ndarray] | None:
    """Return the anchors at each site, or None."""
    if run.anchors == "none":
        return None
    if run.anchors == "random":
        other = draw(run.source, known.W_r is not None, run.seed + OTHER_BENCH)
        sites = [rows(W) for W in (other.W_p, other.W_r) if W is not None]
    else:
        sites = [W for W in (known.W_p, known.W_r) if W is not None]
    sites = [W[: run.number] for W in sites]
    if run.anchors == "shuffled":
        sites[1] = np.roll(sites[1], 1, axis=0)
    return sites


def train(run: Run) -> tuple[sdl.Dictionary, Data]:
    """Return the dictionary of a run, and its data."""
    known = data(run.source, run.pair != "sae", run.seed)
    anchors = anchors_of(run, known)
    tied: dict[str, Any] = {}
    if anchors is not None:
        tied = {"anchors": anchors if len(anchors) > 1 else anchors[0]}
        tied |= {"lambda_anchor": run.weight, "anchor_form": "frobenius"}
    settings = COMMON | {key: value for key, value in METHODS[run.method].items() if key != "pair"}
    x: Any = known.train if run.pair == "crosscoder" else known.train[0]
    target = known.train[1] if run.pair == "transcoder" else None
    seed = run.seed + SECOND_START * run.start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a large error, which a short training has
        found = sdl.fit(
            x,
            target,
            seed=seed,
            device="cpu",
            progress=False,
            steps=run.steps,
            gradient_clip=1.0 if run.clip else None,
            **settings,
            **tied,
        )
    return found, known


def judge(run: Run, found: sdl.Dictionary, known: Data) -> dict[str, float]:
    """Return the measures of a dictionary; shares are of the 900 features without anchors unless the name says else."""
    reads, writes = true_directions(run.pair, known)
    columns, encoder = unit(found.W_dec.numpy()), found.W_enc.numpy()
    decoder_best = best(columns, writes)
    encoder_best = best(encoder, reads)
    others = slice(ANCHORED, None)
    measures = {f"recovery_{name}": share(decoder_best[others] > tau) for name, tau in TAUS.items()}
    measures["mip"] = float(decoder_best[others].mean())
    measures |= {f"raw_encoder_{name}": share(encoder_best[others] > TAUS[name]) for name in ("90", "95")}
    measures["raw_encoder_mip"] = float(encoder_best[others].mean())
    measures["recovery_anchored_90"] = share(decoder_best[: run.number or ANCHORED] > TAUS["90"])
    anchors = anchors_of(run, known)
    if anchors is not None:
        tied = direction(run.pair, anchors)[1]
        measures["anchors_held"] = share((columns[: run.number] * tied).sum(1) > TAUS["90"])
    often = known.with_anchor[others] > np.median(known.with_anchor[others])
    measures["recovery_beside_90"] = share(decoder_best[others][often] > TAUS["90"])
    measures["recovery_apart_90"] = share(decoder_best[others][~often] > TAUS["90"])
    measures["with_anchor_beside"] = float(known.with_anchor[others][often].mean())
    measures["with_anchor_apart"] = float(known.with_anchor[others][~often].mean())
    x: Any = known.test if run.pair == "crosscoder" else known.test[0]
    scores = sdl.evaluate(found, x=x, target=known.test[1] if run.pair == "transcoder" else None, nulls=False)
    return measures | {name: float(scores[name] or 0) for name in ("fvu", "l0", "dead_fraction")}


def true_directions(pair: str, known: Data) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit directions that encoder rows and decoder columns are compared with."""
    return direction(pair, [W for W in (known.W_p, known.W_r) if W is not None])


def direction(pair: str, sites: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return unit rows to read and to write: a crosscoder's sites are concatenated."""
    if pair == "crosscoder":
        together = unit(np.concatenate(sites, axis=1))
        return together, together
    return sites[0], sites[1] if pair == "transcoder" else sites[0]


def best(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the largest absolute inner product of each true direction with a row of ``found``."""
    return np.abs(true @ found.T).max(1)


def share(hits: np.ndarray) -> float:
    return float(np.mean(hits))


def agreement(run: Run, second: np.ndarray, first: np.ndarray, known: Data, active: np.ndarray) -> dict[str, float]:
    """Compare the decoder columns of a run with those of the first start.

    ``start_feature_cosine`` is the mean over the 900 features of the cosine between the columns that match the feature
    best in both; ``start_recovered_both`` is the share of features that either recovers which both recover (above .9);
    ``start_column_cosine`` is the mean, over columns of the second start that are active in held-out samples and not
    anchored, of the largest cosine with such a column of the first; ``start_column_90`` is the share above .9.
    """
    others = slice(ANCHORED, None)
    writes = true_directions(run.pair, known)[1][others]
    a, b = unit(first), unit(second)
    in_a, in_b = np.abs(writes @ a.T), np.abs(writes @ b.T)
    cosine = np.abs((a[in_a.argmax(1)] * b[in_b.argmax(1)]).sum(1))
    hits_a, hits_b = in_a.max(1) > TAUS["90"], in_b.max(1) > TAUS["90"]
    either = max(1, int((hits_a | hits_b).sum()))
    active[: run.number] = False
    nearest = np.abs(b[active] @ a[run.number :].T).max(1)
    return {
        "start_feature_cosine": float(cosine.mean()),
        "start_recovered_both": float((hits_a & hits_b).sum() / either),
        "start_column_cosine": float(nearest.mean()),
        "start_column_90": share(nearest > TAUS["90"]),
    }


def columns_of_first(run: Run, folder: Path) -> np.ndarray:
    """Return the decoder columns of a run's first start, from the cache or from training it again."""
    first = replace(run, start=0)
    path = cached(first, folder)
    if not path.exists():
        np.save(path, train(first)[0].W_dec.numpy().astype(np.float16))
    return np.load(path).astype(np.float32)


def cached(run: Run, folder: Path) -> Path:
    return folder / ("_".join(run.key) + ".npy")


def measured(run: Run, cache: Path, keep: bool) -> dict[str, Any]:
    """Train a run and return its row. ``keep`` stores its decoder columns, which its second start is compared with."""
    began, clock = time.process_time(), time.time()
    found, known = train(run)
    row: dict[str, Any] = dict(zip(COLUMNS, run.key, strict=True)) | judge(run, found, known)
    columns = found.W_dec.numpy()
    if keep:
        np.save(cached(run, cache), columns.astype(np.float16))
    if run.start:
        x: Any = known.test if run.pair == "crosscoder" else known.test[0]
        codes = found.encode(x, sparse=True)
        active = np.bincount(codes.indices, codes.data, minlength=found.n_q) > 0
        row |= agreement(run, columns, columns_of_first(run, cache), known, active)
    row["core_seconds"] = round(time.process_time() - began, 1)
    row["wall_seconds"] = round(time.time() - clock, 1)
    return row | made_with()


@lru_cache(1)
def made_with() -> dict[str, str]:
    """Return commit, versions and processor."""
    git = ("git", "-C", str(ROOT))
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    tracked = [*git, "status", "--porcelain", "--untracked-files=no", "src", "studies"]
    changed = subprocess.run(tracked, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "commit": commit[:10] + ("+" if changed else ""),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": processor(),
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the runs that a CSV file does not contain yet.")
    parser.add_argument("table", type=Path, help="CSV file of finished runs")
    parser.add_argument("--cache", type=Path, help="folder for decoder columns (default: beside the system's /tmp)")
    options = parser.parse_args(arguments)
    planned = scored_runs()
    done = finished(options.table, COLUMNS)
    left = [run for run in planned if run.key not in done]
    print(f"{len(planned) - len(left)} of {len(planned)} runs finished", flush=True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    cache = options.cache or Path(os.environ.get("TMPDIR", "/tmp")) / "anchoring_effect"
    cache.mkdir(parents=True, exist_ok=True)
    second = {replace(run, start=0) for run in planned if run.start}
    for run in left:
        row = measured(run, cache, run in second)
        add(options.table, [row], COLUMNS)
        print(*run.key, row["recovery_90"], f"{row['core_seconds']} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
