import numpy as np
import pytest
import scipy.sparse
from hypothesis import assume, given
from hypothesis import strategies as st

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, synthesise
from sdlcore.random_streams import stream
from sdlstudy.theory.zero_loss import Solution, approximate_loss
from tests.coders import coder


def tetrahedron():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    return corners.T.astype(np.float32)


@given(seed=st.integers(0, 200))
def test_any_basis_with_its_opposite_loses_nothing_whatever_it_recovers(seed):
    """The solutions of Theorem 3.4 in figure 4: x = A^-1 relu(A x) - A^-1 relu(-A x)."""
    W, A = tetrahedron(), stream(seed, "A").standard_normal((3, 3))
    assume(np.linalg.cond(A) < 50)
    inverse = np.linalg.inv(A).T
    x = coefficients(200, 4, BenchSamples(sparsity=0.4), stream(seed, "x"))
    solution = Solution.of(coder(np.vstack([A, -A]), np.vstack([inverse, -inverse])), W, x, synthesise(x, W))
    assert solution.near_zero
    assert max(solution.loss, solution.approximate_loss) < 1e-8
    assert solution.l0 == pytest.approx(3 * (x.toarray().max(axis=1) > 0).mean(), abs=0.1)
    cosines = A / np.linalg.norm(A, axis=1, keepdims=True) @ W
    assert solution.encoder.similarity == pytest.approx(np.abs(cosines).max(axis=0), abs=1e-5)
    assert solution.recovered[0] == (np.abs(cosines).max(axis=0) > 0.9).sum()


def test_losses_are_those_of_equations_3_and_13():
    rng = stream(0)
    W = tetrahedron()
    W_enc, W_dec = rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal((5, 3)).astype(np.float32)
    x = coefficients(500, 4, BenchSamples(sparsity=0.7, c_min=0.2), stream(1))
    solution = Solution.of(coder(W_enc, W_dec), W, x, synthesise(x, W))

    def reconstruct(v):
        return np.maximum(W_enc @ v, 0) @ W_dec

    dense = x.toarray().astype(np.float64)
    errors = [np.square(W @ row - reconstruct(W @ row)).sum() for row in dense]
    assert solution.loss == pytest.approx(np.mean(errors), rel=1e-4)
    assert solution.fvu == pytest.approx(np.mean(errors) / (dense @ W.T).var(axis=0).sum(), rel=1e-4)
    expected = 0.0
    for d in range(4):
        squares = [row[d] ** 2 for row in dense if row[d] > 0 and (row > 0).sum() == 1]
        M = len(squares) / len(dense) * np.mean(squares)
        expected += M * np.square(W[:, d] - reconstruct(W[:, d])).sum()
    assert solution.approximate_loss == pytest.approx(expected, rel=1e-4)
    assert approximate_loss(coder(W_enc, W_dec), W, scipy.sparse.csr_array((10, 4))) == 0
