"""Train with the first author's recipe on the paper's bench, and look at the dictionary often.

    python -m examples.first_author.recipe --method topk --lr 1e-3 --epochs 2 --out looks.csv

Each look is a row of the file. It follows two public repositories of the paper's first author
(docs/results/explain/README.md): the mean squared error over samples and dimensions plus .01 times the mean of
all latents, batches of 32, biases, gradient norm clipped at 1, AdamW, nn.Linear's start. His weight decay of 1e-5 is
left out: 1 - lr * 1e-5 rounds to 1 in float32 as long as lr is below .003.
"""

import argparse
import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import sdlcore as sdl
from examples.first_author import kernels
from sdlcore.data.pairs import make_direction_pair, make_pair
from sdlcore.data.recovery_rule import recovered
from sdlcore.random_streams import stream, torch_stream

TEST = 1000
"""Samples not trained on, that L0 and the unexplained variance are measured on."""
SLOW = 0.99
"""Share of the running threshold that a step keeps."""
TAUS = (0.9, 0.95, 0.97)
BLOCK = 500
"""Rows of a dense gradient that are made and used at once, while they are in the caches."""


@dataclass(frozen=True)
class Recipe:
    """What identifies a run."""

    method: str = "topk"
    """relu; jumprelu, which is relu(x) + beta 1(x > gamma), not trained; topk after that; batchtopk; transcoder or
    crosscoder, both as topk; matryoshka, with a decoder for each level."""
    lr: float = 1e-3
    cosine: int = 0
    """Epochs of his cosine schedule, which changes the rate between epochs; 0 for a constant rate."""
    batch: int = 32
    k: int = 64
    levels: str = ""
    """Matryoshka's levels, each with the latents before it, such as 128,256,512,16000; the last is n_q."""
    level_k: str = ""
    """How many latents are kept in the block that each level adds."""
    l1: float = 0.01
    """Weight of the mean over samples and latents."""
    beta: float = 1.0
    """The jump of the activation before TopK, and of jumprelu; 0 for a plain ReLU."""
    gamma: float = 1.0
    clip: float = 1.0
    start: str = "linear"
    """linear: as nn.Linear; tied: unit decoder rows, the encoder's the same times init_scale, biases zero."""
    init_scale: float = 0.1
    n: int = 1000
    n_p: int = 768
    n_q: int = 16_000
    samples: int = 100_000
    sparsity: float = 0.99
    max_interference: float = 0.1
    c_min: float = 0.0
    anchors: int = 0
    """Features that the first latents are anchored at. Recovery and MIP are those of the other features."""
    anchor_weight: float = 0.1
    """Weight of the anchors' squared distances (the paper's eq. 25), which are summed over rows and dimensions."""
    seed: int = 0

    @property
    def pair(self) -> str:
        return self.method if self.method in ("transcoder", "crosscoder") else "sae"

    @property
    def dense(self) -> bool:
        return self.method in ("relu", "jumprelu", "matryoshka")

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0: of ten, the first two have ``lr``."""
        if not self.cosine:
            return self.lr
        warmup = min(5, self.cosine // 10)
        share = max(0, epoch - warmup) / max(1, self.cosine - warmup)
        return self.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)

    @property
    def jump(self) -> float:
        return 0.0 if self.method == "relu" else self.beta


@lru_cache(2)
def drawn(n: int, n_p: int, samples: int, two: bool, seed: int, **settings: float):
    """Return the bench, training samples and held-out samples, as (input, target) pairs."""
    second = {"n_r": n_p} if two else {}
    bench = sdl.Bench.draw(seed=seed, n=n, n_p=n_p, **settings, **second)
    train, test = bench.samples(samples), bench.samples(TEST, "test")
    return bench, (train.input, train.target), (test.input, test.target)


class Training:
    """Weights, moments and steps of one run."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.bench, train, test = drawn(
            recipe.n,
            recipe.n_p,
            recipe.samples,
            recipe.pair != "sae",
            recipe.seed,
            sparsity=recipe.sparsity,
            max_interference=recipe.max_interference,
            c_min=recipe.c_min,
        )
        self.x, self.y = make_pair(recipe.pair, *train)
        self.test = tuple(torch.from_numpy(part) for part in make_pair(recipe.pair, *test))
        W_r = self.bench.W_r
        true = make_direction_pair(recipe.pair, self.bench.W_p.T, None if W_r is None else W_r.T)
        self.true = tuple(torch.from_numpy(np.ascontiguousarray(part, np.float32)) for part in true)
        self.anchors = tuple(part[: recipe.anchors] for part in self.true)
        self.weights = start(recipe, self.x.shape[1], self.y.shape[1])
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = self.weights
        self.moments = [(np.zeros_like(w.numpy()), np.zeros_like(w.numpy())) for w in self.weights]
        self.step = 0
        self.lr = recipe.rate(0)
        self.norm = 0.0
        """Norm of the last step's gradient, before it is clipped."""
        self._order: np.ndarray = np.zeros(0, np.int64)
        n_q, most = recipe.n_q, min(recipe.n_q, recipe.batch * recipe.k + recipe.anchors)
        self.threshold = 0.0
        """Batch TopK: running mean of the smallest kept latent, which decides in evaluation."""
        self._since = np.zeros(n_q, np.int64), np.zeros(n_q, np.int64)
        self._slots, self._active = np.full(n_q, -1, np.int64), np.zeros(most, np.int64)
        self._G = (
            np.zeros((most, self.x.shape[1]), np.float32),
            np.zeros((most, self.y.shape[1]), np.float32),
            np.zeros(most, np.float32),
        )

    def take_step(self) -> float:
        """Take a step and return the mean squared error of its batch."""
        rows = self._rows()
        x, y = self.x[rows], self.y[rows]
        self.step += 1
        return self._dense_step(x, y) if self.recipe.dense else self._sparse_step(x, y)

    def _rows(self) -> np.ndarray:
        batch = self.recipe.batch
        a_pass = len(self.x) // batch
        if self.step % a_pass == 0:
            self.settle()  # rows that were left behind moved at the rate of the epoch before
            self.lr = self.recipe.rate(self.step // a_pass)
            self._order = stream(self.recipe.seed, "order", str(self.step // a_pass)).permutation(len(self.x))
        first = self.step % a_pass * batch
        return np.sort(self._order[first : first + batch])

    def _sparse_step(self, x: np.ndarray, y: np.ndarray) -> float:
        recipe, lr = self.recipe, self.lr
        Z = activation(torch.addmm(self.b_enc, torch.from_numpy(x), self.W_enc.T), recipe)
        columns, values = self._kept_of_batch(Z) if recipe.method == "batchtopk" else kept_of_samples(Z, recipe.k)
        (M_enc, V_enc), (m_b, v_b), (M_dec, V_dec), (m_d, v_d) = self.moments
        since_enc, since_dec = self._since
        W_enc, W_dec, b_enc, b_dec = self.W_enc.numpy(), self.W_dec.numpy(), self.b_enc.numpy(), self.b_dec.numpy()
        l1 = recipe.l1 / (len(x) * recipe.n_q)
        G_enc, G_dec, g = self._G
        n, g_dec, square, error = kernels.sparse_gradients(
            x, y, columns, values, W_enc, W_dec, M_dec, V_dec, b_dec, since_dec, self.step, lr, l1,
            self._slots, G_enc, G_dec, g, self._active, *(part.numpy() for part in self.anchors), recipe.anchor_weight,
        )  # fmt: skip
        self.norm = math.sqrt(square)
        clip = clipping(self.norm, recipe.clip)
        kernels.sparse_descend(
            W_enc,
            M_enc,
            V_enc,
            since_enc,
            W_dec,
            M_dec,
            V_dec,
            since_dec,
            self._slots,
            self._active,
            n,
            G_enc,
            G_dec,
            self.step,
            lr,
            clip,
        )
        g_enc = np.zeros(recipe.n_q, np.float32)
        g_enc[self._active[:n]] = g[:n]
        kernels.descend(b_enc, m_b, v_b, g_enc, self.step - 1, self.step, lr, clip)
        kernels.descend(b_dec, m_d, v_d, g_dec, self.step - 1, self.step, lr, clip)
        return error

    def _dense_step(self, x: np.ndarray, y: np.ndarray) -> float:
        recipe, lr = self.recipe, self.lr
        X, Y = torch.from_numpy(x), torch.from_numpy(y)
        H = torch.addmm(self.b_enc, X, self.W_enc.T)
        Z = activation(H, recipe)
        R = torch.addmm(self.b_dec, Z, self.W_dec) - Y
        error = float(R.square().mean())
        G = R * (2 / R.numel())
        dH = (torch.mm(G, self.W_dec.T) + recipe.l1 / Z.numel()) * (H > 0)
        g_enc, g_dec = dH.sum(0), G.sum(0)
        # || Z^T G ||_F^2 by two B x B matrices
        square = (
            (Z @ Z.T * (G @ G.T)).sum() + (dH @ dH.T * (X @ X.T)).sum() + g_enc.square().sum() + g_dec.square().sum()
        )
        tied = recipe.anchors
        pairs = zip((self.W_enc, self.W_dec), self.anchors, strict=True)
        pulls = [2 * recipe.anchor_weight * (W[:tied] - A) for W, A in pairs]
        for left, right, pull in ((dH, X, pulls[0]), (Z, G, pulls[1])):
            square += (pull * (pull + 2 * torch.mm(left[:, :tied].T, right))).sum()
        self.norm = math.sqrt(float(square))
        clip = clipping(self.norm, recipe.clip)
        (M_enc, V_enc), (m_b, v_b), (M_dec, V_dec), (m_d, v_d) = self.moments
        sides = ((dH, X, self.W_enc, M_enc, V_enc, pulls[0]), (Z, G, self.W_dec, M_dec, V_dec, pulls[1]))
        for left, right, W, M, V, pull in sides:
            for first in range(0, recipe.n_q, BLOCK):
                part = slice(first, first + BLOCK)
                gradient = torch.mm(left[:, part].T, right)
                gradient[: max(0, tied - first)] += pull[part]
                g = gradient.numpy()
                kernels.descend_rows(W.numpy()[part], M[part], V[part], g, self.step, lr, clip)
        kernels.descend(self.b_enc.numpy(), m_b, v_b, g_enc.numpy(), self.step - 1, self.step, lr, clip)
        kernels.descend(self.b_dec.numpy(), m_d, v_d, g_dec.numpy(), self.step - 1, self.step, lr, clip)
        return error

    def _kept_of_batch(self, Z: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and values of the batch's largest latents, k for a sample on average, padded with zeros."""
        top = Z.flatten().topk(len(Z) * self.recipe.k)
        positive = top.values[top.values > 0]
        if len(positive):
            smallest = float(positive[-1])
            self.threshold = SLOW * self.threshold + (1 - SLOW) * smallest if self.threshold else smallest
        kept = torch.zeros_like(Z).flatten().scatter_(0, top.indices, top.values).view_as(Z)
        return kept_of_samples(kept, int((kept > 0).sum(1).max()))

    def settle(self) -> None:
        """Bring the decoder rows that a sparse step left behind to the present step."""
        if not self.recipe.dense:
            M, V = self.moments[2]
            kernels.settle(self.W_dec.numpy(), M, V, self._since[1], self.step, self.lr)

    def codes(self, H: Tensor) -> Tensor:
        """Return the latents of pre-activations."""
        Z = activation(H, self.recipe)
        if self.recipe.dense:
            return Z
        if self.recipe.method == "batchtopk":
            return Z * (self.threshold <= Z)
        top = Z.topk(self.recipe.k, sorted=False)
        return torch.zeros_like(Z).scatter_(1, top.indices, top.values)

    def look(self) -> dict[str, float]:
        """Return L0, unexplained variance, recovery and MIP, by every reading."""
        self.settle()
        x, y = self.test
        H = torch.addmm(self.b_enc, x, self.W_enc.T)
        Z = self.codes(H)
        error = (torch.addmm(self.b_dec, Z, self.W_dec) - y).square().sum(1).mean()
        found = {"fvu": float(error / y.var(dim=0, correction=0).sum())}
        found |= {"l0": float((Z > 0).sum(1).float().mean()), "l0_0.1": float((Z > 0.1).sum(1).float().mean())}
        found |= {"fire": float((Z > 0).any(0).float().mean()), "b_enc": float(self.b_enc.mean())}
        for side, W, true in (("encoder", self.W_enc, self.true[0]), ("decoder", self.W_dec, self.true[1])):
            found |= read(side, W, true[self.recipe.anchors :])
        if self.recipe.pair == "crosscoder":  # the input's part of the encoder, with the input's features
            part = torch.from_numpy(np.ascontiguousarray(self.bench.W_p.T, np.float32))
            found |= read("encoder_input", self.W_enc[:, : self.recipe.n_p], part[self.recipe.anchors :])
        return found


def read(side: str, W: Tensor, true: Tensor) -> dict[str, float]:
    """Return MIP and recovery of true directions (n x d, unit rows) by the rows of W: by cosines and inner products."""
    inner = (true @ W.T).abs()
    found = {}
    for name, best in (("cosine", (inner / W.norm(dim=1).clamp(min=1e-12)).amax(1)), ("inner", inner.amax(1))):
        found[f"{side}_{name}_mip"] = float(best.mean())
        found |= {f"{side}_{name}_{tau:g}": float(recovered(best, tau).float().mean()) for tau in TAUS}
    return found


def kept_of_samples(Z: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and values of the k largest latents of each sample."""
    top = Z.topk(k, sorted=False)
    return top.indices.numpy(), top.values.numpy()


def activation(H: Tensor, recipe: Recipe) -> Tensor:
    """Return relu(x) + beta 1(x > gamma)."""
    Z = torch.relu(H)
    return Z + recipe.jump * (recipe.gamma < H) if recipe.jump else Z


def clipping(norm: float, largest: float) -> float:
    """Return the factor of torch's `clip_grad_norm_` for a gradient of this norm."""
    return min(1.0, largest / (norm + 1e-6))


def start(recipe: Recipe, n_p: int, n_r: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the encoder (n_q x n_p), its bias, the decoder (n_q x n_r) and its bias at the start."""
    generator = torch_stream(recipe.seed, "initialisation")

    def uniform(*shape: int, fan_in: int) -> Tensor:
        return (2 * torch.rand(*shape, generator=generator, dtype=torch.float32) - 1) / math.sqrt(fan_in)

    n_q = recipe.n_q
    if recipe.start == "tied":
        W_dec = torch.nn.functional.normalize(torch.randn(n_q, n_r, generator=generator, dtype=torch.float32))
        return recipe.init_scale * W_dec, torch.zeros(n_q), W_dec, torch.zeros(n_r)
    W_enc, b_enc = uniform(n_q, n_p, fan_in=n_p), uniform(n_q, fan_in=n_p)
    return W_enc, b_enc, uniform(n_q, n_r, fan_in=n_q), uniform(n_r, fan_in=n_q)


def look_steps(a_pass: int, steps: int, every: int) -> set[int]:
    """Return the steps after which to look: five early ones, then regularly, and the ends of passes."""
    early = range(every // 2, 5 * every // 2 + 1, every // 2)
    return {*early, *range(every, steps + 1, every), *range(a_pass, steps + 1, a_pass), steps}


def training_of(recipe: Recipe) -> Training:
    """Return a training of the recipe's method at its start."""
    if recipe.method != "matryoshka":
        return Training(recipe)
    from examples.first_author.matryoshka import MatryoshkaTraining

    return MatryoshkaTraining(recipe)


def run(recipe: Recipe, epochs: float, every: int, report: Callable[[dict[str, float]], None]) -> None:
    """Train for some passes and report a look after every few steps."""
    training = training_of(recipe)
    a_pass = recipe.samples // recipe.batch
    steps = round(epochs * a_pass)
    at, spent, square, norm, since = look_steps(a_pass, steps, every), 0.0, 0.0, 0.0, 0
    report({"step": 0, "epoch": 0.0, "ms": 0.0, "mse": math.nan, "norm": math.nan, **training.look()})
    while training.step < steps:
        began = time.perf_counter()
        square += training.take_step()
        spent += time.perf_counter() - began
        norm, since = max(norm, training.norm), since + 1
        if training.step in at:
            row = {"step": training.step, "epoch": training.step / a_pass}
            row |= {"ms": 1000 * spent / since, "mse": square / since, "norm": norm}
            report(row | training.look())
            spent, square, norm, since = 0.0, 0.0, 0.0, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(Recipe):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--every", type=int, default=250, help="steps between looks")
    parser.add_argument("--out", type=Path, required=True, help="CSV file of this run, replaced if it exists")
    given = vars(parser.parse_args())
    epochs, every, out = given.pop("epochs"), given.pop("every"), given.pop("out")
    torch.set_num_threads(1)
    recipe = Recipe(**given)
    with out.open("w", newline="") as file:
        writer: csv.DictWriter | None = None

        def report(row: dict[str, float]) -> None:
            nonlocal writer
            whole = {**asdict(recipe), **{name: f"{value:.6g}" for name, value in row.items()}}
            if writer is None:
                writer = csv.DictWriter(file, list(whole))
                writer.writeheader()
            writer.writerow(whole)
            file.flush()

        run(recipe, epochs, every, report)


if __name__ == "__main__":
    main()
