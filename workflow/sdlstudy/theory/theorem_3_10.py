"""Theorem 3.10 (3.8 of the later revision): absorption is realizable.

Parents have two or more sub-concepts each (Definition 3.9), and a pattern P with a latent for the sub-concepts of each
parent is realizable. Then for each latent one of its features can get a latent of its own: the resulting pattern P'
(eq. 20) is realizable. Such patterns manifest as partial minima.

The statement names no threshold; its proof takes c > 0. With c > 0 and different features it is true, without any
hierarchy: leave the threshold where it is, shrink the row until the weakest member falls below c, and turn it a little
before if two members tie.
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize

from sdlstudy.theory.approximate_loss import Problem, approximate_loss, autoencoder
from sdlstudy.theory.claims import Result, share
from sdlstudy.theory.landscape import pattern, unit_columns
from sdlstudy.theory.partial_minima import partial_minimum
from sdlstudy.theory.theorem_3_3 import interference


class Absorption(NamedTuple):
    """A dictionary with a latent of its own for one member of a group."""

    W_enc: np.ndarray
    """(n_q + 1) x n_p, the new latent last."""
    threshold: float
    absorbed: int
    """The feature that was separated."""


def paper_absorption(W_enc: np.ndarray, problem: Problem, latent: int) -> Absorption:
    """Return the dictionary that the proof constructs (eq. 93 to 107): one row shrunk, the threshold raised for all.

    The infinitesimal of eq. (100) is a thousandth, half of the distance to the next member if that is less, and a
    billionth if the two tie.
    """
    W_p, threshold = problem.W_p, problem.threshold
    activations = W_enc[latent] @ W_p
    members = np.flatnonzero(activations > threshold)
    order = members[np.argsort(activations[members], kind="stable")]
    least, following = activations[order[0]], activations[order[1]]
    raised = (threshold + least) / 2
    shrink = raised / least
    gap = shrink * following - raised
    raised += min(gap / 2, 1e-3 * raised) if gap > 1e-9 * raised else 1e-9 * raised
    rows = W_enc.copy()
    rows[latent] *= shrink
    new = 2 * raised / (1 + interference(W_p)) * W_p[:, order[0]]
    return Absorption(np.vstack([rows, new]), float(raised), int(order[0]))


def repaired_absorption(W_enc: np.ndarray, problem: Problem, latent: int, rng: np.random.Generator) -> Absorption:
    """Return an encoder with the pattern P' at an unchanged threshold c > 0.

    The first shrinking activates no other feature and makes room for the turn, which breaks ties between members.
    """
    W_p, threshold = problem.W_p, problem.threshold
    row = W_enc[latent].copy()
    members = np.flatnonzero(row @ W_p > threshold)
    least = (row @ W_p)[members].min()
    row *= (1 + threshold / least) / 2
    if np.diff(np.sort(row @ W_p[:, members])[:2])[0] < 1e-6 * least:
        room = np.abs(row @ W_p - threshold).min()
        turn = rng.standard_normal(len(row))
        row += 0.5 * room / np.linalg.norm(turn) * turn
    activations = row @ W_p
    order = members[np.argsort(activations[members])]
    # a scale that silences the weakest member, but not the next one
    row *= threshold * 2 / (activations[order[0]] + activations[order[1]])
    rows = W_enc.copy()
    rows[latent] = row
    new = 2 * threshold / (1 + interference(W_p)) * W_p[:, order[0]]
    return Absorption(np.vstack([rows, new]), threshold, int(order[0]))


def wrong_entries(absorption: Absorption, W_enc: np.ndarray, problem: Problem, latent: int) -> np.ndarray:
    """Return a mask of the entries where a construction's pattern differs from P' of eq. (20), (n_q + 1) x n."""
    expected = np.vstack([pattern(W_enc, problem), np.arange(problem.n) == absorption.absorbed])
    expected[latent, absorption.absorbed] = False
    return pattern(absorption.W_enc, autoencoder(problem.W_p, threshold=absorption.threshold)) != expected


def separating_row(W_p: np.ndarray, members: list[int]) -> np.ndarray | None:
    """Return an encoder row (n_p) that exactly the members activate under ReLU; None if there is none.

    A linear program finds the row, or proves that no row exists: the largest t with <u, w_p^d> >= t for members and
    <= 0 for other features is then zero.
    """
    n_p, n = W_p.shape
    others = [d for d in range(n) if d not in set(members)]
    inside = np.column_stack([-W_p[:, members].T, np.ones(len(members))])
    outside = np.column_stack([W_p[:, others].T, np.zeros(len(others))])
    solution = scipy.optimize.linprog(
        np.r_[np.zeros(n_p), -1.0],
        A_ub=np.vstack([inside, outside]),
        b_ub=np.zeros(n),
        bounds=[(-1e4, 1e4)] * n_p + [(None, 1.0)],
    )
    return solution.x[:n_p] if solution.status == 0 and solution.x[-1] > 1e-7 else None


def separable(W_p: np.ndarray, members: list[int]) -> list[bool]:
    """Return for each member whether ReLU has a row that only it activates, and a row that only the others activate."""
    splits = [([d for d in members if d != feature], [feature]) for feature in members]
    return [all(separating_row(W_p, group) is not None for group in split) for split in splits]


def directions(*degrees: float) -> np.ndarray:
    """Return unit vectors of the plane, 2 x n."""
    angles = np.radians(degrees)
    return np.array([np.cos(angles), np.sin(angles)])


FOUR = directions(10, -10, -100, 100)
"""Four directions. ReLU can activate the first two together, but neither of them alone."""
TWO_PARENTS = directions(0, 40, -40, 180, 140, 220)
"""Three children of each of two parents, whose latents have the rows (1, 0) and (-1, 0)."""
Drawn = list[tuple[Problem, np.ndarray, int]]
"""Random features without any hierarchy, an encoder, and one of its latents that several features activate."""


def draw(rng: np.random.Generator, instances: int = 240) -> Drawn:
    """Return random instances; in every fifth, two members share the least activation, as siblings may."""
    drawn: Drawn = []
    while len(drawn) < instances:
        tie = len(drawn) % 5 == 0
        problem = autoencoder(unit_columns(6, 6, rng), threshold=float(rng.uniform(0.05, 0.3)))
        W_enc = rng.standard_normal((3, 6))
        if tie:
            z = W_enc @ problem.W_p
            weakest = np.argsort(np.where(z[0] > problem.threshold, z[0], np.inf))[:2]
            z[0, weakest[1]] = z[0, weakest[0]]
            W_enc = z @ np.linalg.inv(problem.W_p)
        several = np.flatnonzero(pattern(W_enc, problem).sum(axis=1) >= 2)
        if len(several) and (not tie or several[0] == 0):
            drawn.append((problem, W_enc, int(several[0])))
    return drawn


def check(drawn: Drawn, rng: np.random.Generator) -> list[Result]:
    """Check Theorem 3.10, its hypothesis, its proof and its consequence."""
    claims = [_construction(drawn, rng), _any_epsilon(drawn, rng), *_realizable(drawn, rng)]
    return [*claims, _hierarchy(drawn, rng), _partial_minima(rng)]


def _repaired_fails(drawn: Drawn, rng: np.random.Generator) -> list[bool]:
    return [
        bool(wrong_entries(repaired_absorption(W_enc, problem, latent, rng), W_enc, problem, latent).any())
        for problem, W_enc, latent in drawn
    ]


def _construction(drawn: Drawn, rng: np.random.Generator) -> Result:
    wrong = [
        wrong_entries(paper_absorption(W_enc, problem, latent), W_enc, problem, latent)
        for problem, W_enc, latent in drawn
    ]
    false = [bool(each.any()) for each in wrong]
    latents = [latent for _, _, latent in drawn]
    elsewhere = [np.delete(each, latent, axis=0).any() for each, latent in zip(wrong, latents, strict=True)]
    ties = [each[latent].any() for each, latent in zip(wrong, latents, strict=True)]
    children = autoencoder(np.eye(4), threshold=1.0)
    parents = np.array([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 1.5, 5.0]])
    siblings = np.array([[3.0, 3.0, 4.0, 0.0], [0.0, 0.0, 0.0, 5.0]])
    example, tie = (paper_absorption(rows, children, 0) for rows in (parents, siblings))
    return Result(
        "theorem_3_10.construction",
        false,
        observed=[share(false), sum(elsewhere), sum(ties)],
        counterexample=[example.threshold, tie.threshold],
        false_then=_repaired_fails(drawn, rng),
    )


def _any_epsilon(drawn: Drawn, rng: np.random.Generator) -> Result:
    false, large = [], []
    for problem, W_enc, latent in drawn:
        c, activations = problem.threshold, W_enc[latent] @ problem.W_p
        least = float(activations[activations > c].min())
        false.append((c + least) / 2 >= c + float(10 ** rng.uniform(-9, -3)) * (least - c))
        large.append((c + least) / 2 >= c + float(rng.uniform(0.51, 2)) * (least - c))
    return Result("theorem_3_10.any_epsilon", false, observed=[share(false)], false_then=large)


def _realizable(drawn: Drawn, rng: np.random.Generator, trials: int = 200) -> list[Result]:
    """Check the theorem with the threshold c > 0 of its proof, and under ReLU, where c = 0."""
    without_threshold = []
    for _ in range(trials):
        members: list[int] = []
        while len(members) < 2:
            W = unit_columns(2, 4, rng)
            members = np.flatnonzero(rng.standard_normal(2) @ W > 0).tolist()
        without_threshold.append(not any(separable(W, members)))
    four = separating_row(FOUR, [0, 1]) is not None and not any(separable(FOUR, [0, 1]))
    parents = not any(separating_row(TWO_PARENTS, [child]) is not None for child in range(6))
    with_threshold = _repaired_fails(drawn, rng)
    return [
        Result("theorem_3_10.realizable", with_threshold),
        Result(
            "theorem_3_10.realizable_under_relu",
            [*without_threshold, four, parents],
            observed=[share(without_threshold)],
            false_then=with_threshold,
        ),
    ]


def _hierarchy(drawn: Drawn, rng: np.random.Generator) -> Result:
    # these features have no hierarchy: they are independent random directions
    absorbed = [not fails for fails in _repaired_fails(drawn, rng)]
    return Result("theorem_3_10.hierarchy", absorbed, observed=[share(absorbed)], counterexample=[sum(absorbed)])


def _partial_minima(rng: np.random.Generator, instances: int = 100) -> Result:
    missing: dict[str, list[bool]] = {"random": [], "alike": []}
    better = []
    for kind, none in missing.items():
        for _ in range(instances):
            members = int(rng.integers(3, 6))
            W = rng.standard_normal((8, 6))
            W = np.abs(W) if kind == "alike" else W
            problem = autoencoder(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, 6), 0.1)
            singletons = [[d] for d in range(members, 6)]
            before = partial_minimum([list(range(members)), *singletons], problem)
            after = partial_minimum([list(range(1, members)), *singletons, [0]], problem)
            none.append(after is None)
            if before and after:
                better.append(approximate_loss(after[0], problem) < approximate_loss(before[0], problem))
    return Result(
        "theorem_3_10.partial_minima",
        missing["random"] + missing["alike"],
        observed=[share(missing["random"]), share(better)],
        false_then=missing["alike"],
    )
