"""Random small problems and dictionaries that claims are checked over."""

import numpy as np

from sdlcore.study.theory.landscape import Problem, Weights, codes, unit_columns

ACTIVATIONS = ("relu", "jumprelu", "topk")
PAPER_BENCHES = [
    (1000, 0.99, 0.1),
    *((n, 0.99, 0.1) for n in (800, 900, 1100, 1200, 1300, 1400)),
    *((1000, 0.99, M) for M in (0.05, 0.2, 0.5)),
    *((1000, S, 0.1) for S in (0.995, 0.95, 0.9)),
]
"""n, S and M of the paper's Table 1, and then of its Tables 4, 5 and 6."""

MAGNITUDES, CHANCES = np.array([0.5, 1.0, 2.0]), np.array([0.5, 0.3, 0.2])
"""What an active feature may be, and how probably, where claims are summed over all states."""
Drawn = list[tuple[str, Problem, Weights]]
"""Problems and dictionaries, each with its activation."""


def random_problem(
    rng: np.random.Generator, activation: str, latents: int | None = None, k: int | None = None
) -> tuple[Problem, Weights]:
    """Return a problem of 2 to 5 features and a dictionary that every feature activates some latent of.

    Features of input and target are unit vectors of 2 to 4 dimensions, drawn independently of each other.
    """
    while True:
        n, n_p, n_r = int(rng.integers(2, 6)), int(rng.integers(2, 5)), int(rng.integers(2, 5))
        n_q = latents or int(rng.integers(2, 5))
        problem = Problem(
            unit_columns(n_p, n, rng),
            unit_columns(n_r, n, rng),
            rng.uniform(0.2, 2, n),
            threshold=float(rng.uniform(0.05, 0.5)) if activation == "jumprelu" else 0.0,
            k=(k or int(rng.integers(1, n_q + 1))) if activation == "topk" else None,
        )
        weights = Weights(rng.standard_normal((n_q, n_p)), rng.standard_normal((n_q, n_r)))
        if codes(weights.W_enc, problem).any(axis=0).all():
            return problem, weights


def share(part: int, whole: int) -> str:
    """Return "3 of 4 (75 %)"."""
    return f"{part} of {whole} ({100 * part / whole:.0f} %)"
