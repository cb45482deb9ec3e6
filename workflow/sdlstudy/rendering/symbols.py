"""The paper's symbols for settings."""

SYMBOLS = {"n": "n", "n_p": "n_p", "n_r": "n_r", "sparsity": "S", "max_interference": "M", "train_samples": "N"}
"""Setting of a bench -> the paper's symbol."""


def symbol(parameter: str) -> str:
    """Return the paper's symbol for a setting, or the setting's name if the paper has none."""
    return SYMBOLS.get(parameter, parameter)
