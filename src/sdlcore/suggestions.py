"""Suggest a correction for a wrong name: the sdlcore setting that does the same, or the closest name."""

from collections.abc import Iterable
from difflib import get_close_matches

CALLED_BY_SOLVERS = {"n_q": "n_atoms", "k": "support", "steps": "max_steps"}
"""Settings of trainings, and their names as settings of solvers."""
_STEPS = "set `steps` to the number of samples divided by `batch_size`"
_WIDTH = "not a setting here: the dimensions are read from x and the target"
_WARMUP = "set `lr_warmup`, a share of the steps"
_DECAY = "set `lr_decay`, the share of the steps at the end over which the learning rate falls to zero"
_LOOP = "not a setting here; for another optimiser or schedule, write a loop with sdl.SparseCoder"
_FOLDER = "give `out` a folder; the dictionary is written there, and the same call resumes it"
ANSWERS = {
    "activation_dim": _WIDTH,
    "architecture": "activation",
    "autocast": "set `precision` to bfloat16",
    "aux_loss_coefficient": "lambda_aux",
    "auxk_alpha": "lambda_aux",
    "d_in": _WIDTH,
    "d_sae": "n_q",
    "dead_feature_window": "dead_after",
    "dict_size": "n_q",
    "epochs": _STEPS,
    "l0_coefficient": "l0",
    "l1_coefficient": "l1",
    "l1_penalty": "l1",
    "learning_rate": "lr",
    "lr_decay_steps": _DECAY,
    "lr_warm_up_steps": _WARMUP,
    "matryoshka_widths": "set `prefixes`, the cumulative numbers of latents; the last one is `n_q`",
    "max_steps": "steps",
    "n_steps": "steps",
    "normalize_activations": "set `normalise` to True, or `whiten` for unit covariance",
    "num_latents": "n_q",
    "optimizer": _LOOP,
    "output_path": _FOLDER,
    "processes": "start the same script or command by torchrun",
    "resume_from_checkpoint": _FOLDER,
    "save_dir": _FOLDER,
    "scheduler": _LOOP,
    "train_batch_size_tokens": "batch_size",
    "training_tokens": _STEPS,
    "warmup_steps": _WARMUP,
}
"""The names that users of SAELens, dictionary_learning, sparsify and torch try first -> the setting, or a clause with
settings in backquotes."""


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return the end of an error message about a wrong name, such as "; did you mean topk?"; empty if no name is close.

    A setting of another library (`ANSWERS`) brings the sdlcore setting. A clause is returned only if the candidates
    include ``n_q``, because clauses are about training. If a solver is named, a setting of trainings brings the
    solver's setting. Otherwise the message suggests the candidate with the most similar letters.
    """
    names = {candidate.lower(): candidate for candidate in candidates}
    advice = ANSWERS.get(name, "")
    if " " in advice and "n_q" in names:
        return f"; {advice.replace('`', '')}"
    if (here := advice if advice in names else CALLED_BY_SOLVERS.get(name)) in names:
        return f"; here it is called {here}"
    if name == "gpu" and "cuda" in names:
        return "; did you mean cuda?"
    close = get_close_matches(name.lower(), list(names), n=1, cutoff=0.65 if len(name) < 6 else 0.75)
    return f"; did you mean {names[close[0]]}?" if close else ""
