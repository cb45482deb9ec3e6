"""Draw a bench's feature matrices, each from a stream of its own."""

from sdlcore.random_streams import stream
from sdlcore.sources.bench.feature_matrix import FeatureMatrix, feature_matrix
from sdlcore.sources.bench.settings import BenchFeatures


def draw_matrices(bench: BenchFeatures, seed: int) -> dict[str, FeatureMatrix]:
    """Return the feature matrices ``W_p`` and, where the bench has a second representation, ``W_r`` (Appendix C.1).

    Raises
    ------
    InterferenceError
        If the bound on interference is out of reach (`feature_matrix`).
    """
    drawn = {}
    for name, dimension in (("W_p", bench.n_p), ("W_r", bench.n_r)):
        if dimension is not None:
            start = None
            if bench.seed_leak:
                from sdlcore.sources.bench.seed_leak import leaked_start  # only here: it loads torch

                start = leaked_start(dimension, bench.n, seed)
            drawn[name] = feature_matrix(dimension, bench.n, stream(seed, "feature matrix", name), bench, start)
    return drawn
