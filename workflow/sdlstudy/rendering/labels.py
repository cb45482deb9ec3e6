"""Names of methods, anchorings, sources and swept values, as tables and figures show them."""

from sdlstudy.results.tables import PAPER_METHODS

# names of the default configuration's methods that are not in the paper
METHODS = {
    "topk_3d": "TopK SAE",
    "topk_few": "TopK SAE",
    "topk_nested": "Nested TopK SAE",
    "topk_real": "TopK SAE",
    "topk_real_resampled": "TopK SAE with resampling",
    "batchtopk_real": "BatchTopK SAE",
    "topk_warm": "TopK SAE from ACS",
    "topk_frozen_decoder": "TopK SAE, decoder frozen",
    "topk_frozen_decoder_linear": "TopK SAE, decoder frozen at TopK's start",
    "topk_frozen_encoder": "TopK SAE, encoder frozen",
    "random_directions": "Random directions",
    "random_samples": "Random samples",
    "acs": "ACS",
    "ksvd": "K-SVD",
    "odl": "Online dictionary learning",
}
ANCHORING_LABELS = {
    "none": "none",
    "ground_truth": "ground truth",
    "ground_truth_30": "ground truth",
    "class_means": "class means",
    "half_of_classes": "half of the classes",
}


SYMBOLS = {"n": "n", "n_p": "n_p", "n_r": "n_r", "sparsity": "S", "max_interference": "M", "train_samples": "N"}
"""Setting of a bench -> the paper's symbol."""


def label_method(method: str) -> str:
    """Return a readable name of a method: the paper's, else one from `METHODS`, else its key in the configuration."""
    return PAPER_METHODS.get(method) or METHODS.get(method, method)


def label_anchoring(anchoring: str) -> str:
    """Return a readable name of an anchoring."""
    return ANCHORING_LABELS.get(anchoring, anchoring)


def label_value(value: float, paper_value: float) -> str:
    """Return the value of the swept parameter, with the paper's in brackets if it differs."""
    return f"{value:g}" if value == paper_value else f"{value:g} (paper: {paper_value:g})"


def symbol(parameter: str) -> str:
    """Return the paper's symbol for a setting, or the setting's name if the paper has none."""
    return SYMBOLS.get(parameter, parameter)
