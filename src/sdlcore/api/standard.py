"""Standard instances of the Linear Representation Bench: fixed settings and seeds, so that scores can be compared."""

from typing import Any

from sdlcore.api.bench import Bench

STANDARD: dict[str, dict[str, Any]] = {
    # an eighth of the paper's size, as config/config.yaml has it
    "lrb-s": {"n": 128, "n_p": 96, "sparsity": 0.97, "max_interference": 0.2, "train_samples": 20_000},
    # Table 3 of the paper
    "lrb-m": {"n": 1000, "n_p": 768, "sparsity": 0.99, "max_interference": 0.1, "train_samples": 100_000},
    # four times as large, with as many active features a sample
    "lrb-l": {"n": 4096, "n_p": 3072, "sparsity": 0.9975, "max_interference": 0.1, "train_samples": 400_000},
}
"""Settings by name; ``n_r`` equals ``n_p``, so that transcoders and crosscoders have a second representation."""
SEED = 20251205
"""Of every standard instance."""
TEST_SAMPLES = 10_000


def standard_bench(name: str) -> Bench:
    """Return a standard bench by its name.

    ``lrb-s`` has 128 features in 96 dimensions (S = .97, M = .2), ``lrb-m`` 1000 in 768 (the paper's: S = .99, M = .1),
    ``lrb-l`` 4096 in 3072 (S = .9975, M = .1). All have a second representation of as many dimensions.

    Nothing is stored: drawing it again takes a second, ``lrb-l`` half a minute, and gives the same bits.
    ``x, target = bench.sample()`` gives the training samples: fit an autoencoder on ``x`` alone, since `fit` makes a
    crosscoder of a pair. `evaluate` draws its own samples.

    Raises
    ------
    ValueError
        If there is no such instance.
    """
    if name not in STANDARD:
        raise ValueError(f"no standard bench {name}; expected one of {', '.join(STANDARD)}")
    settings = STANDARD[name]
    return Bench.draw(seed=SEED, n_r=settings["n_p"], test_samples=TEST_SAMPLES, **settings)
