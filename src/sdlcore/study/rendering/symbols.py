"""Name settings by the paper's symbols."""

SYMBOLS = {"n": "n", "n_p": "n_p", "n_r": "n_r", "sparsity": "S", "max_interference": "M", "train_samples": "N"}
"""Settings of a bench, as the paper calls them."""


def symbol(parameter: str) -> str:
    """Return the paper's sign of a setting, or the configuration's name where it has none."""
    return SYMBOLS.get(parameter, parameter)
