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
    # of config/studies/judged.yaml
    "relu_real": "ReLU SAE",
    # of config/studies/law.yaml
    "acs_bare": "ACS, encoder without ridge",
    "topk_tied": "TopK SAE, tied",
    # of config/studies/anchoring.yaml
    "topk_short": "TopK SAE, few steps",
    "topk_short_tied": "TopK SAE, tied, few steps",
    "topk_narrow": "TopK SAE, n_q near n",
    "topk_narrow_tied": "TopK SAE, tied, n_q near n",
    "relu_short": "ReLU SAE",
    "relu_short_tied": "ReLU SAE, tied",
    "topk_few_tied": "TopK SAE, tied",
    "topk_real_tied": "TopK SAE, tied",
    # of config/peers.yaml
    "nested": "Matryoshka SAE by prefixes",
    "saelens_topk": "SAELens TopK",
    "saelens_topk_3e3": "SAELens TopK at 3e-3",
    "saelens_batchtopk": "SAELens BatchTopK",
    "saelens_nested": "SAELens Matryoshka",
    "saelens_jumprelu": "SAELens JumpReLU",
    "saelens_batchtopk_3e3": "SAELens BatchTopK at 3e-3",
    "saelens_nested_3e3": "SAELens Matryoshka at 3e-3",
    "dictionary_learning_topk": "dictionary_learning TopK",
    "dictionary_learning_topk_3e3": "dictionary_learning TopK at 3e-3",
    "dictionary_learning_batchtopk": "dictionary_learning BatchTopK",
    "dictionary_learning_nested": "dictionary_learning Matryoshka",
    "dictionary_learning_jumprelu": "dictionary_learning JumpReLU",
    "sparsify_topk": "sparsify TopK",
    # of config/studies/synthsaebench.yaml
    "acs_narrow": "ACS from n_q atoms",
    "acs_denoised": "ACS, codes denoised",
    # of config/studies/methods.yaml
    "p_annealing": "ReLU SAE, p-annealing",
    "gated": "Gated SAE",
    "jumprelu_tanh": "JumpReLU SAE, tanh penalty",
    "jumprelu_quadratic": "JumpReLU SAE, quadratic penalty",
    "topk_aux": "TopK SAE, auxiliary loss",
    "abstopk": "AbsTopK SAE",
    "lista": "LISTA after TopK",
    "matching_pursuit": "Matching pursuit SAE",
    "hierarchical": "HierarchicalTopK SAE",
    "nested_detached": "Matryoshka SAE by prefixes, detached",
    "ortsae": "OrtSAE",
    "ra_sae": "RA-SAE",
    "t_sae": "T-SAE",
}
SOURCES = {
    "plain": "the paper's bench",
    "denser": "a denser bench",
    "zipf": "Zipf frequencies",
    "noisy": "noise",
    "nested": "nested features",
    "synth_s": "SynthSAEBench",
    "smollm2_100k": "SmolLM2",
    **{f"plain_{l0}": f"the paper's bench, L0 {l0}" for l0 in (8, 16, 32)},
    **{f"smollm2_{l0}": f"SmolLM2, L0 {l0}" for l0 in (16, 32, 64)},
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


def without_label(method: str) -> bool:
    """Return whether only the configuration names this method: it is the reader's own."""
    return method not in PAPER_METHODS and method not in METHODS


def label_anchoring(anchoring: str) -> str:
    """Return a readable name of an anchoring."""
    return ANCHORING_LABELS.get(anchoring, anchoring)


def label_source(source: str) -> str:
    """Return a readable name of a source."""
    return SOURCES.get(source, source)


def label_value(value: float, paper_value: float) -> str:
    """Return the value of the swept parameter, with the paper's in brackets if it differs."""
    return f"{value:g}" if value == paper_value else f"{value:g} (paper: {paper_value:g})"


def symbol(parameter: str) -> str:
    """Return the paper's symbol for a setting, or the setting's name if the paper has none."""
    return SYMBOLS.get(parameter, parameter)
