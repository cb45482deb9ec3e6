"""Map settings of other libraries to the sdlcore settings that do the same.

Names are those of SAELens 6.54 (the configurations of its runners, trainers and training SAEs), dictionary_learning .1
and its newest commit (the arguments of its trainers and of ``trainSAE``), sparsify 1.3 (``TrainConfig``,
``SparseCoderConfig``, and the configuration of its command), and overcomplete (the arguments of its SAEs and of
``train_sae``). An answer is the name of an sdlcore setting, or a clause with sdlcore settings in backquotes. Names
that mean the same in both libraries, such as ``lr``, are not listed.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

quoted = re.compile(r"`(\w+)`")
"""Matches an sdlcore setting in an answer."""
_NO = "not a setting here: "
_MODEL = (
    "`fit` takes activations; to read them from a language model, see sdl.fit_layers, or sources.language of the "
    "pipeline"
)
_LAYERS = "give `layers` to sdl.fit_layers, or `layer` to sources.language of the pipeline; " + _MODEL
_CONTEXT = "give `context_length` to sdl.fit_layers, or to sources.language of the pipeline"
_PER_BATCH = "give `contexts_per_batch` to sdl.fit_layers, or to sources.language of the pipeline"
_TOKENS_LEFT_OUT = "list the tokens to leave out in `drop`, in sdl.fit_layers or in sources.language of the pipeline"
_READING = _NO + "batches are shuffled over all rows, and read ahead in a thread"
_STORED = "give the path of an .npy file or of an activation store to `fit` as x"
_WIDTH = _NO + "the dimensions are read from x and the target"
_ADAM = _NO + "the optimiser is Adam with betas (0.9, 0.999)"
_SCHEDULE = "the learning rate rises over `lr_warmup` and falls to zero over `lr_decay`, each a share of the steps"
_LR_WARMUP = "set `lr_warmup`, a share of the steps"
_LR_DECAY = "set `lr_decay`, the share of the steps at the end over which the learning rate falls to zero"
_PENALTY_WARMUP = "set `penalty_warmup`, a share of the steps"
_STEPS = "set `steps` to the number of samples divided by `batch_size`"
_AUTOCAST = "set `precision` to bfloat16"
_COMPILING = _NO + "kernels are compiled at their first use"
_DEAD = "set `dead_after`, a number of samples"
_FOLDER = "give `out` a folder; the dictionary is written there"
_CHECKPOINTS = "give `out` a folder, and set `checkpoint_every`, the steps between checkpoints"
_RESUME = "give `out` the folder of the run; the same call goes on from its checkpoint"
_EVALUATION = "call sdl.evaluate(dictionary, x=held_out_samples) after the training"
_WANDB = "write wandb: PROJECT into a configuration of the pipeline; `log_every` is the number of steps between rows"
_PROGRESS = "set `progress` to False for no progress bar"
_SCALING = "set `normalise` to True, or `whiten` for unit covariance"
_JUMPRELU = _NO + "`l0` weighs a penalty, whose straight-through kernel is `bandwidth` wide"
_DEAD_LATENTS = _NO + "`lambda_aux` or `resample_every` revives dead latents"
_THRESHOLD = _NO + "BatchTopK's threshold follows the smallest latents that training keeps"
_PREFIXES = "set `prefixes`, the cumulative numbers of latents; the last one is `n_q`"
_K_START = "set `k_start`, and `k_decay`, a share of the steps"
_ANNEALING = "set `l1_exponent_end`, and `l1_anneal_start`, a share of the steps"
_PURSUIT = _NO + "matching pursuit takes `k` steps (activation matching_pursuit)"
_TEMPORAL = _NO + "temporal SAEs are not trained here"
_BENCH = "draw samples from sdl.Bench.draw or sdl.standard_bench, and give them to `fit` as x"
_FLAT = "give its settings to `fit` by name, beside the others"
_SEVERAL = "call sdl.fit_many"
_ACTIVATION = "set `activation`, and `pair` for a transcoder or crosscoder"
_START = "give `start` a dictionary, or its path"
_AMOUNT = "set `decoder_norm` to unit for decoder rows of norm 1; `init_scale` scales encoder rows at the start"

ELSEWHERE: dict[str, dict[str, str]] = {
    "SAELens": {
        # training SAEs
        **dict.fromkeys(("sae", "metadata"), _FLAT),
        "architecture": _ACTIVATION,
        "d_sae": "n_q",
        **dict.fromkeys(("d_in", "d_out"), _WIDTH),
        "dtype": _NO + "weights are float32, and `precision` is the type of the encoder's product",
        "apply_b_dec_to_input": _NO + "with `bias`, the encoder has a bias of its own, which can do the same",
        "normalize_activations": _SCALING,
        "n_batches_for_norm_estimate": _NO + "`normalise` measures the mean and the scale by itself",
        "reshape_activations": _NO + "reshape x to samples x dimensions",
        "decoder_init_norm": _AMOUNT,
        "l1_coefficient": "l1",
        "l0_coefficient": "l0",
        "lp_norm": _NO + "the penalty is `l1`; write another as a loss term (docs/extending.md)",
        **dict.fromkeys(("l1_warm_up_steps", "l0_warm_up_steps"), _PENALTY_WARMUP),
        "jumprelu_init_threshold": "init_threshold",
        "jumprelu_bandwidth": "set `bandwidth`, a share of the threshold at the start",
        "jumprelu_sparsity_loss_mode": "l0_form",
        "jumprelu_tanh_scale": "tanh_scale",
        "jumprelu_ste_to_input": _JUMPRELU,
        "pre_act_loss_coefficient": _DEAD_LATENTS,
        "aux_loss_coefficient": "lambda_aux",
        "use_sparse_activations": _NO + "latents are always computed sparsely",
        "rescale_acts_by_decoder_norm": _NO + "`decoder_norm` unit makes rescaling needless",
        "topk_threshold_lr": _THRESHOLD,
        "matryoshka_widths": _PREFIXES,
        "use_matryoshka_aux_loss": _NO + "`lambda_aux` counts for the whole dictionary",
        **dict.fromkeys(("residual_threshold", "max_iterations", "stop_on_duplicate_support"), _PURSUIT),
        **dict.fromkeys(("n_heads", "n_attn_layers", "bottleneck_factor", "sae_diff_type", "kval_topk"), _TEMPORAL),
        "activation_normalization_factor": _TEMPORAL,
        "tied_weights": "tied",
        # trainers
        **dict.fromkeys(("train_batch_size_tokens", "train_batch_size_samples"), "batch_size"),
        **dict.fromkeys(("training_tokens", "training_samples", "total_training_samples"), _STEPS),
        **dict.fromkeys(("adam_beta1", "adam_beta2"), _ADAM),
        "lr_scheduler_name": _SCHEDULE,
        "lr_warm_up_steps": _LR_WARMUP,
        **dict.fromkeys(("lr_decay_steps", "lr_end"), _LR_DECAY),
        "n_restart_cycles": _NO + _SCHEDULE,
        **dict.fromkeys(("autocast", "autocast_sae"), _AUTOCAST),
        **dict.fromkeys(("compile_sae", "sae_compilation_mode"), _COMPILING),
        "dead_feature_window": _DEAD,
        "dead_feature_threshold": _NO + "a latent is dead after `dead_after` samples without firing",
        "feature_sampling_window": _NO + "the history records the dead fraction every `log_every` steps",
        **dict.fromkeys(("n_checkpoints", "checkpoint_path"), _CHECKPOINTS),
        **dict.fromkeys(("save_final_checkpoint", "output_path"), _FOLDER),
        "resume_from_checkpoint": _RESUME,
        "from_pretrained_path": _START,
        "verbose": _PROGRESS,
        **dict.fromkeys(
            ("logger", "log_to_wandb", "log_activations_store_to_wandb", "log_optimizer_state_to_wandb"), _WANDB
        ),
        **dict.fromkeys(("log_weights_to_wandb", "wandb_project", "wandb_id", "wandb_entity"), _WANDB),
        **dict.fromkeys(("run_name", "wandb_log_frequency", "eval_every_n_wandb_logs"), _WANDB),
        **dict.fromkeys(("n_eval_batches", "eval_batch_size_prompts", "eval_frequency", "eval_samples"), _EVALUATION),
        **dict.fromkeys(("run_final_eval", "evaluator"), _EVALUATION),
        **dict.fromkeys(
            ("sae_lens_version", "sae_lens_training_version"), _NO + "config.json of a run records the versions"
        ),
        "saes": _SEVERAL,
        **dict.fromkeys(("synthetic_model", "save_synthetic_model", "autocast_data"), _BENCH),
        # language models
        **dict.fromkeys(("hook_name", "hook_names"), _LAYERS),
        **dict.fromkeys(("hook_eval", "hook_head_index", "hook_head_indices"), _MODEL),
        **dict.fromkeys(("model_name", "model_class_name", "model_kwargs", "model_from_pretrained_kwargs"), _MODEL),
        **dict.fromkeys(("llm_device", "autocast_lm", "compile_llm", "llm_compilation_mode"), _MODEL),
        **dict.fromkeys(("dataset_path", "dataset_trust_remote_code", "streaming", "is_dataset_tokenized"), _MODEL),
        **dict.fromkeys(("use_chat_formatting", "disable_concat_sequences", "sequence_separator_token"), _MODEL),
        "context_size": _CONTEXT,
        "store_batch_size_prompts": _PER_BATCH,
        **dict.fromkeys(("prepend_bos", "exclude_special_tokens", "seqpos_slice"), _TOKENS_LEFT_OUT),
        **dict.fromkeys(("use_cached_activations", "cached_activations_path"), _STORED),
        **dict.fromkeys(("n_batches_in_buffer", "activations_mixing_fraction"), _READING),
        **dict.fromkeys(("act_store_device", "prefetch_llm_batches"), _READING),
    },
    "dictionary_learning": {
        **dict.fromkeys(("trainer", "trainer_class", "dict_class"), _ACTIVATION),
        "trainer_configs": _SEVERAL,
        "dict_size": "n_q",
        "activation_dim": _WIDTH,
        "l1_penalty": "l1",
        "sparsity_penalty": "l0",
        "auxk_alpha": "lambda_aux",
        "warmup_steps": _LR_WARMUP,
        "decay_start": _LR_DECAY,
        "sparsity_warmup_steps": _PENALTY_WARMUP,
        **dict.fromkeys(("threshold_beta", "threshold_start_step"), _THRESHOLD),
        "k_anneal_steps": _K_START,
        **dict.fromkeys(("group_fractions", "group_sizes"), _PREFIXES),
        "group_weights": _NO + "all `prefixes` count the same",
        "resample_steps": "resample_every",
        "initial_sparsity_penalty": "l1",
        **dict.fromkeys(("sparsity_function", "anneal_start", "anneal_end", "p_start", "p_end"), _ANNEALING),
        **dict.fromkeys(("n_sparsity_updates", "sparsity_queue_length"), _ANNEALING),
        "normalize_activations": _SCALING,
        "autocast_dtype": _AUTOCAST,
        "transcoder": "call fit(x, target), which trains a transcoder",
        "data": "give the activations to `fit` as x",
        "save_dir": _FOLDER,
        **dict.fromkeys(("save_steps", "backup_steps"), _CHECKPOINTS),
        "log_steps": "log_every",
        "verbose": _PROGRESS,
        **dict.fromkeys(("use_wandb", "wandb_entity", "wandb_project", "wandb_name"), _WANDB),
        "run_cfg": _WANDB,
        "activations_split_by_head": _NO + "fit a dictionary to each head's columns of x, with sdl.fit_many",
        **dict.fromkeys(("layer", "submodule_name"), _LAYERS),
        "lm_name": _MODEL,
    },
    "sparsify": {
        "sae": _FLAT,
        "num_latents": "n_q",
        "expansion_factor": "set `n_q` to this factor times the dimensions of x",
        "normalize_decoder": "set `decoder_norm` to unit",
        "multi_topk": "set `multi_k` to several k; the last one is `k`",
        "skip_connection": "set `skip` to True, and call fit(x, target), which trains a transcoder",
        "transcode": "call fit(x, target), which trains a transcoder",
        "grad_acc_steps": "multiply `batch_size` by it, and set `accumulate` to it",
        "micro_acc_steps": "accumulate",
        "loss_fn": _NO + "dictionaries are trained to reconstruct activations; sdl.splice puts one into the model",
        "lr_warmup_steps": _LR_WARMUP,
        "k_decay_steps": _K_START,
        "auxk_alpha": "lambda_aux",
        "dead_feature_threshold": "dead_after",
        "init_seeds": "call sdl.fit_many with a `seed` for each run",
        "distribute_modules": "set processes and split in a configuration of the pipeline (docs/training.md)",
        "save_every": _CHECKPOINTS,
        "save_best": _NO + "the dictionary after the last step is kept",
        "save_dir": _FOLDER,
        "resume": _RESUME,
        "finetune": _START,
        **dict.fromkeys(("log_to_wandb", "run_name", "wandb_log_frequency"), _WANDB),
        **dict.fromkeys(("hookpoints", "layers", "layer_stride"), _LAYERS),
        "exclude_tokens": _TOKENS_LEFT_OUT,
        "ctx_len": _CONTEXT,
        **dict.fromkeys(("model", "dataset", "split", "hf_token", "revision", "load_in_8bit", "max_examples"), _MODEL),
        **dict.fromkeys(("text_column", "shuffle_seed", "data_preprocessing_num_proc", "data_args"), _MODEL),
    },
    "overcomplete": {
        "nb_concepts": "n_q",
        "input_shape": _WIDTH,
        "encoder_module": _ACTIVATION,
        "dictionary_params": "set `decoder_norm` to unit for decoder rows of norm 1",
        "criterion": "set `l1`, `l0` or another weight; write another term as a loss term (docs/extending.md)",
        "nb_epochs": _STEPS,
        "clip_grad": "gradient_clip",
        "monitoring": "log_every",
        "verbose": _PROGRESS,
    },
    # torch, scikit-learn, and habit
    "": {
        **dict.fromkeys(("n_latents", "n_features", "n_atoms", "n_components", "hidden_dim", "d_hidden"), "n_q"),
        **dict.fromkeys(("dictionary_size", "width"), "n_q"),
        "learning_rate": "lr",
        **dict.fromkeys(("num_steps", "n_steps", "max_steps", "num_training_steps"), "steps"),
        **dict.fromkeys(("epochs", "n_epochs", "num_epochs"), _STEPS),
        "top_k": "k",
        **dict.fromkeys(("l1_coeff", "l1_coef", "l1_lambda", "l1_weight", "sparsity_coefficient"), "l1"),
        **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule"), _SCHEDULE),
        **dict.fromkeys(("beta1", "beta2", "betas"), _ADAM),
        "momentum": _ADAM,
        **dict.fromkeys(("amp", "fp16", "bf16", "mixed_precision"), _AUTOCAST),
        **dict.fromkeys(("clip_grad_norm", "grad_clip", "max_grad_norm"), "gradient_clip"),
        **dict.fromkeys(("gradient_accumulation_steps", "accumulation_steps"), "accumulate"),
        **dict.fromkeys(("normalize", "normalization", "standardize"), _SCALING),
        **dict.fromkeys(("checkpoint", "resume_from"), _RESUME),
        **dict.fromkeys(("output_dir", "log_dir"), _FOLDER),
    },
}
"""Library (empty for names that several libraries use) -> its setting -> the answer."""


def answers(name: str, known: set[str]) -> list[str]:
    """Return advice for another library's setting: which sdlcore setting does the same; empty if unknown.

    Parameters
    ----------
    name
        The other library's setting.
    known
        The sdlcore settings that the caller accepts. An answer that is a clause is returned only if the valid settings
        include ``n_q``, because such clauses are about training.
    """
    found: dict[str, str] = {}
    for library, settings in ELSEWHERE.items():
        answer = settings.get(name, "")
        if answer in known:
            found.setdefault(f"here it is called `{answer}`", library)
        elif not answer.isidentifier() and answer and "n_q" in known:
            found.setdefault(answer, library)
    if len(found) == 1:
        return list(found)
    return [f"in {library}: {answer}" for answer, library in found.items()]


CALLED_BY_SOLVERS = {"n_q": "n_atoms", "k": "support", "steps": "max_steps"}
"""Settings of trainings, and what they are called where a solver is named."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message about a wrong name, such as "; did you mean topk?"; empty if no name is close.

    It answers settings of other libraries (`ELSEWHERE`), and those of trainings where a solver is named. Otherwise it
    suggests the known name with the most similar letters.
    """
    names = {one.lower(): one for one in known}
    found = [quoted.sub(r"\1", answer) for answer in answers(name, set(names.values()))]
    if not found and (here := CALLED_BY_SOLVERS.get(name)) in names:
        found = [f"here it is called {here}"]
    if found:
        return "; " + "; ".join(found)
    if name == "gpu" and "cuda" in names:
        return "; did you mean cuda?"
    close = get_close_matches(name.lower(), list(names), n=1, cutoff=0.65 if len(name) < 6 else 0.75)
    return f"; did you mean {names[close[0]]}?" if close else ""


def hints(wrong: Sequence[str], known: Collection[str]) -> str:
    """Return what `did_you_mean` answers to one name; for several names, each answer follows its name."""
    if len(wrong) == 1:
        return did_you_mean(wrong[0], known)
    found = {name: did_you_mean(name, known).removeprefix("; ") for name in wrong}
    return "".join(f"; {name}: {hint}" for name, hint in found.items() if hint)
