"""The approximate loss (eq. 11 and 13) as a landscape: codes, patterns, gradients, and two ways down.

Everything is in float64 and small. Features are columns, as in the paper: W_p is n_p x n and W_r is n_r x n. Weights
are stored by latent, as in `SparseCoder`: W_enc is n_q x n_p and W_dec is n_q x n_r (the paper's W_D transposed).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sdlcore.losses.reconstruction import reconstruction
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.run import Activation, ModelConfig


@dataclass(frozen=True)
class Problem:
    """What the approximate loss is a function of, besides the weights.

    Raises
    ------
    ValueError
        If shapes do not fit, or both k and a threshold are given.
    """

    W_p: np.ndarray
    """n_p x n features of the input."""
    W_r: np.ndarray
    """n_r x n features of the target."""
    M: np.ndarray
    """n weights: M_d = Pr(d alone is active) E[x_d^2 | it is]."""
    threshold: float = 0.0
    """c: sigma(z) = z 1(z > c)."""
    k: int | None = None
    """Latents that TopK keeps of those above zero; None keeps all."""

    def __post_init__(self) -> None:
        n = self.W_p.shape[1]
        if self.W_r.shape[1] != n or self.M.shape != (n,):
            raise ValueError(f"W_p {self.W_p.shape}, W_r {self.W_r.shape} and M {self.M.shape} do not fit each other")
        if self.k is not None and self.threshold:
            raise ValueError("TopK has no threshold: give k or threshold")

    @property
    def n(self) -> int:
        """Number of features."""
        return self.W_p.shape[1]


class Weights(NamedTuple):
    """A dictionary without biases."""

    W_enc: np.ndarray
    """n_q x n_p."""
    W_dec: np.ndarray
    """n_q x n_r."""


def autoencoder(W: np.ndarray, M: np.ndarray | None = None, threshold: float = 0.0, k: int | None = None) -> Problem:
    """Return the problem of an autoencoder, W_r = W_p; each M_d is 1 if left out."""
    return Problem(W, W, np.ones(W.shape[1]) if M is None else np.asarray(M, float), threshold, k)


def unit_columns(dimension: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return random directions, dimension x n."""
    W = rng.standard_normal((dimension, n))
    return W / np.linalg.norm(W, axis=0)


def activate(z_QB: np.ndarray, problem: Problem) -> np.ndarray:
    """Return sigma of pre-activations (n_q x B); of equal ones TopK keeps the first."""
    if problem.k is not None and problem.k < len(z_QB):
        order = np.argsort(-z_QB, axis=0, kind="stable")[: problem.k]
        kept = np.zeros(z_QB.shape, bool)
        np.put_along_axis(kept, order, True, axis=0)
        z_QB = np.where(kept, z_QB, 0.0)
    return np.where(z_QB > problem.threshold, z_QB, 0.0)


def codes(W_enc: np.ndarray, problem: Problem) -> np.ndarray:
    """Return z_d = sigma(W_E w_p^d) of each feature alone, n_q x n."""
    return activate(W_enc @ problem.W_p, problem)


def pattern(W_enc: np.ndarray, problem: Problem) -> np.ndarray:
    """Return which latents each feature alone activates (Definition 3.6), n_q x n booleans."""
    return codes(W_enc, problem) > 0


def residuals(weights: Weights, problem: Problem) -> np.ndarray:
    """Return w_r^d - W_D sigma(W_E w_p^d), n_r x n."""
    return problem.W_r - weights.W_dec.T @ codes(weights.W_enc, problem)


def approximate_loss(weights: Weights, problem: Problem) -> float:
    """Return sum_d M_d || w_r^d - W_D sigma(W_E w_p^d) ||^2 (eq. 11)."""
    return float(problem.M @ np.square(residuals(weights, problem)).sum(axis=0))


def to_model(weights: Weights, problem: Problem) -> SparseCoder:
    """Return the weights as the package's own model, in float64."""
    n_q, n_p = weights.W_enc.shape
    activation: Activation = "topk" if problem.k is not None else "jumprelu" if problem.threshold else "relu"
    config = ModelConfig(activation=activation, n_q=n_q, k=problem.k)
    model = SparseCoder(config, (n_p,), (weights.W_dec.shape[1],)).double()
    with torch.no_grad():
        model.W_enc.copy_(torch.from_numpy(weights.W_enc))
        model.W_dec.copy_(torch.from_numpy(weights.W_dec))
        if activation == "jumprelu":
            model.get_parameter("sigma.threshold").fill_(problem.threshold)
    return model.eval()


def model_loss(model: SparseCoder, problem: Problem) -> torch.Tensor:
    """Return eq. (11) as the package's own reconstruction loss over the n single features, to be differentiated."""
    scale = torch.from_numpy(np.sqrt(problem.n * problem.M))[:, None]
    x_hat = model(torch.from_numpy(np.ascontiguousarray(problem.W_p.T))).x_hat
    return reconstruction(scale * torch.from_numpy(np.ascontiguousarray(problem.W_r.T)), scale * x_hat)


def gradients(weights: Weights, problem: Problem) -> Weights:
    """Return the gradients of eq. (11), by automatic differentiation of the package's model."""
    model = to_model(weights, problem)
    found = torch.autograd.grad(model_loss(model, problem), [model.W_enc, model.W_dec])
    return Weights(found[0].numpy(), found[1].numpy())


def gradient_norm(weights: Weights, problem: Problem) -> float:
    """Return the largest entry of the gradients, in absolute value."""
    return max(float(np.abs(part).max()) for part in gradients(weights, problem))


def closed_gradients(weights: Weights, problem: Problem) -> Weights:
    """Return the gradients of eq. (11) by their formulas (eq. 45 and 49), which long descents are made with."""
    z_QD = codes(weights.W_enc, problem)
    weighted = -2 * problem.M * residuals(weights, problem)
    return Weights(((weights.W_dec @ weighted) * (z_QD > 0)) @ problem.W_p.T, z_QD @ weighted.T)


def descend(weights: Weights, problem: Problem, steps: int = 3000, lr: float = 0.05) -> Weights:
    """Train from ``weights`` by plain gradient steps on eq. (11), through regions as they come."""
    for _ in range(steps):
        slope = closed_gradients(weights, problem)
        weights = Weights(weights.W_enc - lr * slope.W_enc, weights.W_dec - lr * slope.W_dec)
    return weights


def perturbed(weights: Weights, rng: np.random.Generator, size: float = 1e-3) -> Weights:
    """Return weights with Gaussian noise of standard deviation ``size``."""
    return Weights(*(part + size * rng.standard_normal(part.shape) for part in weights))


def best_decoder(W_enc: np.ndarray, problem: Problem) -> np.ndarray:
    """Return the W_dec (n_q x n_r) of least norm that minimises eq. (11) for fixed W_E."""
    root = np.sqrt(problem.M)[:, None]
    return np.linalg.lstsq(root * codes(W_enc, problem).T, root * problem.W_r.T, rcond=None)[0]


def best_encoder(weights: Weights, problem: Problem) -> np.ndarray:
    """Return the W_enc nearest to the present one that minimises eq. (11) for fixed W_D, its pattern held fixed.

    The region's inequalities are not imposed: whether the minimiser lies in the region is for the caller to see.
    """
    active = pattern(weights.W_enc, problem)
    root = np.sqrt(problem.M)
    # rows (feature, r), columns (latent, p)
    design = np.einsum("d,qd,qr,pd->drqp", root, active, weights.W_dec, problem.W_p)
    target = (root * residuals(weights, problem)).T.reshape(-1)
    step = np.linalg.lstsq(design.reshape(len(target), -1), target, rcond=None)[0]
    return weights.W_enc + step.reshape(weights.W_enc.shape)


class Search(NamedTuple):
    """What alternating minimisation came to."""

    weights: Weights
    losses: list[float]
    """Eq. (11) after each iteration, that of the start first."""
    left_after: int | None
    """Iteration after which the encoder was in another region than at the start, which ended the search."""


def alternate(weights: Weights, problem: Problem, iterations: int = 100) -> Search:
    """Minimise by turns over W_D and over W_E with the pattern of the start, until the encoder leaves its region."""
    start = pattern(weights.W_enc, problem)
    losses = [approximate_loss(weights, problem)]
    for iteration in range(1, iterations + 1):
        weights = Weights(weights.W_enc, best_decoder(weights.W_enc, problem))
        weights = Weights(best_encoder(weights, problem), weights.W_dec)
        losses.append(approximate_loss(weights, problem))
        if (pattern(weights.W_enc, problem) != start).any():
            return Search(weights, losses, iteration)
    return Search(weights, losses, None)
