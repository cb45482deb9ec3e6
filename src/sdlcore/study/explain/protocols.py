"""What the paper leaves unsaid of its trainings, as points of a space that can be searched.

A protocol says how all seven methods of Table 1 are trained. It is fitted on Table 1 alone
(`sdlcore.study.explain.distance`), and tested on Tables 4 to 7.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sdlcore.pipeline import (
    LAMBDA_ANCHOR,
    Batch,
    Json,
    Positive,
    RunConfig,
    Settings,
    Total,
    Weight,
    atomic_path,
    stream,
)


class Scale(NamedTuple):
    """A bench and the sizes of its dictionaries."""

    divisor: int
    """What the paper's sizes are divided by: k, and L0 with it."""
    n: int
    n_p: int
    n_q: int
    n_anchors: int
    max_interference: float
    """M. Inner products of random directions grow as the root of the dimension falls, and M with them."""
    sparsity: float = 0.99
    samples: int = 100_000
    """N of the training set."""


FULL = Scale(1, 1000, 768, 16_000, 30, 0.1)
"""The paper's."""
QUARTER = Scale(4, 250, 192, 4000, 8, 0.2)
"""A quarter of every size; sparsity, samples, batch and steps are the paper's. So features a latent, samples a feature,
active latents an active feature (k = 16 of 2.5 active features, 64 of 10) and the noise of other features in an inner
product stay as they are. The MIP of random rows does not: it is .27 for 4,000, .15 for 16,000."""
SCALES = {"quarter": QUARTER, "full": FULL}
EVERY = 40
"""Steps between looks at a dictionary."""

METHODS = ("relu", "jumprelu", "topk", "batchtopk", "matryoshka", "transcoder", "crosscoder")


class Protocol(Settings):
    """How dictionaries are trained: one row of a stage's list."""

    tied: bool = False
    """W_D = W_E^T throughout. A transcoder cannot be tied, and is trained untied beside the others."""
    initialisation: Literal["linear", "tied", "samples"] = "linear"
    """As `sdlcore.run.ModelConfig`."""
    init_scale: Positive = 0.1
    decoder_norm: Literal["free", "unit"] = "free"
    bias: bool = False
    inputs: Literal["raw", "unit", "scaled"] = "raw"
    """unit: every sample has norm 1; scaled: activations are centred and have a mean norm of sqrt(n_p)."""
    lr: Positive = 1e-3
    schedule: Literal["constant", "warmup", "linear"] = "constant"
    """warmup: a linear rise over a twentieth of the steps; linear: a fall to zero over all steps."""
    weight_decay: Weight = 0.0
    gradient_clip: bool = False
    """Clip the gradient to a norm of 1."""
    batch_size: Batch = 1024
    steps: Total = 480
    """Of the whole training. Where the rate is constant, each look on the way counts as a training that ended there."""
    k: Batch = 64
    """At the paper's scale."""
    multi_k: Literal["quarters", "halves"] = "quarters"
    """Matryoshka's levels: k/4, k/2, k; or k/2, k."""
    l1: Weight = 0.01
    """Weight of ReLU's penalty, for a loss that is summed over dimensions. A mean over dimensions, under Adam, is the
    same training with n_p times the weights, so that it is no axis of its own."""
    l1_scale: Literal["none", "decoder"] = "none"
    l0: Weight = 0.001
    """Weight of JumpReLU's penalty."""
    threshold: Weight = 0.01
    """At which JumpReLU starts; its kernel is as wide."""
    target: Literal["independent", "rotated", "same"] = "independent"
    """W_r, of transcoder and crosscoder: drawn like W_p; an orthogonal matrix times W_p; W_p."""
    seed_leak: bool = False
    """Features start where the first latents do (`sdlcore.sources.bench.feature_matrix.leaked_start`)."""
    lambda_anchor: Positive = LAMBDA_ANCHOR
    """Weight of anchors, in anchored rows."""

    def config(self, method: str, scale: Scale, anchored: bool = False) -> RunConfig:
        """Return the settings of a method's run."""
        k = self.k // scale.divisor
        transcoder, selects = method == "transcoder", method not in ("relu", "jumprelu")
        own: dict[str, Json] = {"activation": method if method in ("relu", "jumprelu", "batchtopk") else "topk"}
        if method in ("transcoder", "crosscoder"):
            own["pair"] = method
        if selects:
            own["k"] = k
        if method == "relu":
            own |= {"l1": self.l1, "l1_scale": self.l1_scale}
        if method == "jumprelu":
            own |= {"l0": self.l0, "init_threshold": self.threshold, "bandwidth": 1.0}
        if method == "matryoshka":
            own["multi_k"] = [k // 4, k // 2, k] if self.multi_k == "quarters" else [k // 2, k]
        return RunConfig.from_dict(
            {
                "n_q": scale.n_q,
                "tied": self.tied and not transcoder,
                "initialisation": self.initialisation,
                "init_scale": self.init_scale,
                "decoder_norm": self.decoder_norm,
                "bias": self.bias,
                "lr": self.lr,
                "lr_warmup": 0.05 if self.schedule == "warmup" else 0.0,
                "lr_decay": 1.0 if self.schedule == "linear" else 0.0,
                "weight_decay": self.weight_decay,
                "gradient_clip": 1.0 if self.gradient_clip else None,
                "batch_size": self.batch_size,
                "steps": self.steps,
                "log_every": EVERY,
                "lambda_anchor": self.lambda_anchor if anchored else 0.0,
                **own,
            }
        )


TABLES = ("table1", "table4", "table5", "table6", "table7")


def varied(protocol: Protocol, scale: Scale, table: str, value: float) -> tuple[Protocol, Scale]:
    """Return a protocol and a scale at one value of what a table of the paper varies, as its CSV file gives it.

    Table 4 varies n, Table 5 M, Table 6 what it calls S and is 1 - S, Table 7 k; all with 100 anchors. Table 1 varies
    nothing.

    Raises
    ------
    ValueError
        For another table.
    """
    if table == "table1":
        return protocol, scale
    scale = scale._replace(n_anchors=100 // scale.divisor)
    if table == "table4":
        return protocol, scale._replace(n=round(value) // scale.divisor)
    if table == "table5":
        return protocol, scale._replace(max_interference=value * scale.divisor**0.5)
    if table == "table6":
        return protocol, scale._replace(sparsity=1 - value)
    if table == "table7":
        return protocol.changed(k=round(value)), scale
    raise ValueError(f"{table} is no table of the bench, expected one of {', '.join(TABLES)}")


SPACE: dict[str, tuple[Sequence[Any], Sequence[float] | None]] = {
    "tied": ((False, True), None),
    "initialisation": (("linear", "tied"), None),
    "init_scale": ((0.01, 0.03, 0.1, 0.3, 1.0), None),
    "decoder_norm": (("free", "unit"), (0.7, 0.3)),
    "bias": ((False, True), (0.7, 0.3)),
    "inputs": (("raw", "unit", "scaled"), (0.6, 0.15, 0.25)),
    "lr": ((3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2), None),
    "schedule": (("constant", "warmup", "linear"), (0.6, 0.2, 0.2)),
    "weight_decay": ((0.0, 0.01, 0.1, 1.0), (0.6, 0.2, 0.1, 0.1)),
    "gradient_clip": ((False, True), (0.7, 0.3)),
    "batch_size": ((128, 256, 512, 1024, 2048, 4096), (0.05, 0.15, 0.25, 0.35, 0.1, 0.1)),
    "steps": ((120, 240, 480), None),
    "k": ((32, 64, 128), (0.2, 0.5, 0.3)),
    "multi_k": (("quarters", "halves"), None),
    "l1": ((1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3), None),
    "l1_scale": (("none", "decoder"), (0.7, 0.3)),
    "l0": ((1e-5, 1e-4, 1e-3, 1e-2), None),
    "threshold": ((1e-3, 1e-2, 0.1), None),
    "target": (("independent", "rotated", "same"), (0.6, 0.2, 0.2)),
    "seed_leak": ((False, True), (0.9, 0.1)),
    "lambda_anchor": ((0.1, 1.0), None),
}
"""The values that each setting is drawn from, and their chances where they are not alike."""
MOST = 500_000
"""Samples that a training of a drawn protocol sees at most (five passes); the steps of larger ones are cut to that."""


def draw(number: int, seed: int) -> list[Protocol]:
    """Return protocols, each setting drawn by itself as `SPACE` says."""
    rng = stream(seed, "protocols")
    found = []
    for _ in range(number):
        chosen = {name: values[rng.choice(len(values), p=chances)] for name, (values, chances) in SPACE.items()}
        most = max(EVERY, MOST // chosen["batch_size"] // EVERY * EVERY)
        found.append(Protocol(**{**chosen, "steps": min(chosen["steps"], most)}))
    return found


def from_samples(protocols: Iterable[Protocol]) -> list[Protocol]:
    """Return protocols that start from training samples and are the same else (stage 1c)."""
    return [protocol.changed(initialisation="samples") for protocol in protocols]


def write_protocols(path: Path, protocols: Iterable[Protocol]) -> None:
    """Write a list of protocols as CSV, a row each."""
    with atomic_path(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(list(Protocol.model_fields))
        writer.writerows([str(value) for value in vars(protocol).values()] for protocol in protocols)


def read_protocols(path: Path) -> list[Protocol]:
    """Read what `write_protocols` wrote.

    Raises
    ------
    ValueError
        If the file has other columns or a value that a setting cannot have; the message names it.
    """
    kinds = {name: type(field.default) for name, field in Protocol.model_fields.items()}
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or list(rows.fieldnames) != list(kinds):
            raise ValueError(
                f"{path}: columns are {rows.fieldnames}, expected the settings of protocols: {list(kinds)}"
            )
        found = []
        for number, row in enumerate(rows):
            try:
                found.append(Protocol(**{name: _parsed(kind, row[name]) for name, kind in kinds.items()}))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: protocol {number}: {error}") from error
        return found


def _parsed(kind: type, text: str) -> Any:
    if kind is bool:
        if text not in ("True", "False"):
            raise ValueError(f"expected True or False, found {text!r}")
        return text == "True"
    return kind(text)
