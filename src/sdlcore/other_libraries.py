"""Settings of other libraries, and the sdlcore settings that do the same.

The names are taken from SAELens 6.54 (the configurations of its runners, trainers and training SAEs),
dictionary_learning .1 and its newest commit (the arguments of its trainers and of ``trainSAE``), sparsify 1.3
(``TrainConfig``, ``SparseCoderConfig``, and the configuration of its command), and overcomplete (the arguments of
its SAEs and of ``train_sae``). Names that mean the same in both libraries, such as ``lr``, are not listed.
"""

_NO = "not a setting here: "
_MODEL = (
    "`fit` takes activations; to read them from a language model, see sdl.extract, or sources.language of the pipeline"
)
_LAYERS = "give `layers` to sdl.extract, or `layer` to sources.language of the pipeline; " + _MODEL
_CONTEXT = "give `context_length` to sdl.extract, or to sources.language of the pipeline"
_TOKENS_LEFT_OUT = "list the tokens to leave out in `drop`, in sdl.extract or in sources.language of the pipeline"
_WIDTH = _NO + "the dimensions are read from x and the target"
_ADAM = _NO + "the optimiser is Adam with betas (0.9, 0.999); for another, write a loop with sdl.SparseCoder"
_SCHEDULE = (
    "the learning rate rises over `lr_warmup` and falls to zero over `lr_decay`, each a share of the steps; for "
    "another schedule, write a loop with sdl.SparseCoder"
)
_LR_WARMUP = "set `lr_warmup`, a share of the steps"
_LR_DECAY = "set `lr_decay`, the share of the steps at the end over which the learning rate falls to zero"
_PENALTY_WARMUP = "set `penalty_warmup`, a share of the steps"
_STEPS = "set `steps` to the number of samples divided by `batch_size`"
_AUTOCAST = "set `precision` to bfloat16"
_FOLDER = "give `out` a folder; the dictionary is written there"
_CHECKPOINTS = "give `out` a folder, and set `checkpoint_every`, the steps between checkpoints"
_RESUME = "give `out` the folder of the run; the same call goes on from its checkpoint"
_WANDB = "write wandb: PROJECT into a configuration of the pipeline; `log_every` is the number of steps between rows"
_PROGRESS = "set `progress` to False for no progress bar"
_SCALING = "set `normalise` to True, or `whiten` for unit covariance"
_THRESHOLD = _NO + "BatchTopK's threshold follows the smallest latents that training keeps"
_PREFIXES = "set `prefixes`, the cumulative numbers of latents; the last one is `n_q`"
_K_START = "set `k_start`, and `k_decay`, a share of the steps"
_FLAT = "give its settings to `fit` by name, beside the others"
_SEVERAL = "call sdl.fit_many"
_ACTIVATION = "set `activation`, and `pair` for a transcoder or crosscoder"
_START = "give `start` a dictionary, or its path"

_NAMES: dict[str, dict[str, str]] = {
    "SAELens": {
        _FLAT: "sae metadata",
        _ACTIVATION: "architecture",
        "n_q": "d_sae",
        _WIDTH: "d_in d_out",
        _NO + "weights are float32, and `precision` is the type of the encoder's product": "dtype",
        _NO + "with `bias`, the encoder has a bias of its own, which can do the same": "apply_b_dec_to_input",
        _SCALING: "normalize_activations",
        _NO + "`normalise` measures the mean and the scale by itself": "n_batches_for_norm_estimate",
        _NO + "reshape x to samples x dimensions": "reshape_activations",
        "set `decoder_norm` to unit for decoder rows of norm 1; `init_scale` scales encoder rows at the start": (
            "decoder_init_norm"
        ),
        "l1": "l1_coefficient",
        "l0": "l0_coefficient",
        _NO + "the penalty is `l1`; write another as a loss term (docs/extending.md)": "lp_norm",
        _PENALTY_WARMUP: "l1_warm_up_steps l0_warm_up_steps",
        "init_threshold": "jumprelu_init_threshold",
        "set `bandwidth`, a share of the threshold at the start": "jumprelu_bandwidth",
        "l0_form": "jumprelu_sparsity_loss_mode",
        _NO + "`l0_form` tanh has the factor 4, SAELens' default": "jumprelu_tanh_scale",
        _NO + "`l0` weighs a penalty, whose straight-through kernel is `bandwidth` wide": "jumprelu_ste_to_input",
        _NO + "`lambda_aux` or `resample_every` revives dead latents": "pre_act_loss_coefficient",
        "lambda_aux": "aux_loss_coefficient",
        _NO + "latents are always computed sparsely": "use_sparse_activations",
        _NO + "`decoder_norm` unit makes rescaling needless": "rescale_acts_by_decoder_norm",
        _THRESHOLD: "topk_threshold_lr",
        _PREFIXES: "matryoshka_widths",
        _NO + "`lambda_aux` counts for the whole dictionary": "use_matryoshka_aux_loss",
        _NO + "matching pursuit takes `k` steps (activation matching_pursuit)": (
            "residual_threshold max_iterations stop_on_duplicate_support"
        ),
        _NO + "temporal SAEs with attention are not trained here": (
            "n_heads n_attn_layers bottleneck_factor sae_diff_type kval_topk activation_normalization_factor"
        ),
        "tied": "tied_weights",
        "batch_size": "train_batch_size_tokens train_batch_size_samples",
        _STEPS: "training_tokens training_samples total_training_samples",
        _ADAM: "adam_beta1 adam_beta2",
        _SCHEDULE: "lr_scheduler_name",
        _LR_WARMUP: "lr_warm_up_steps",
        _LR_DECAY: "lr_decay_steps lr_end",
        _NO + _SCHEDULE: "n_restart_cycles",
        _AUTOCAST: "autocast autocast_sae",
        _NO + "kernels are compiled at their first use": "compile_sae sae_compilation_mode",
        "set `dead_after`, a number of samples": "dead_feature_window",
        _NO + "a latent is dead after `dead_after` samples without firing": "dead_feature_threshold",
        _NO + "the history records the dead fraction every `log_every` steps": "feature_sampling_window",
        _CHECKPOINTS: "n_checkpoints checkpoint_path",
        _FOLDER: "save_final_checkpoint output_path",
        _RESUME: "resume_from_checkpoint",
        _START: "from_pretrained_path",
        _PROGRESS: "verbose",
        _WANDB: (
            "logger log_to_wandb log_activations_store_to_wandb log_optimizer_state_to_wandb log_weights_to_wandb "
            "wandb_project wandb_id wandb_entity run_name wandb_log_frequency eval_every_n_wandb_logs"
        ),
        "call sdl.evaluate(dictionary, x=held_out_samples) after the training": (
            "n_eval_batches eval_batch_size_prompts eval_frequency eval_samples run_final_eval evaluator"
        ),
        _NO + "config.json of a run records the versions": "sae_lens_version sae_lens_training_version",
        _SEVERAL: "saes",
        "draw samples from sdl.Bench.draw or sdl.standard_bench, and give them to `fit` as x": (
            "synthetic_model save_synthetic_model autocast_data"
        ),
        _LAYERS: "hook_name hook_names",
        _MODEL: (
            "hook_eval hook_head_index hook_head_indices model_name model_class_name model_kwargs "
            "model_from_pretrained_kwargs llm_device autocast_lm compile_llm llm_compilation_mode dataset_path "
            "dataset_trust_remote_code streaming is_dataset_tokenized use_chat_formatting disable_concat_sequences "
            "sequence_separator_token"
        ),
        _CONTEXT: "context_size",
        "give `contexts_per_batch` to sdl.extract, or to sources.language of the pipeline": (
            "store_batch_size_prompts"
        ),
        _TOKENS_LEFT_OUT: "prepend_bos exclude_special_tokens seqpos_slice",
        "give the path of an .npy file or of an activation store to `fit` as x": (
            "use_cached_activations cached_activations_path"
        ),
        _NO + "batches are shuffled over all rows, and read ahead in a thread": (
            "n_batches_in_buffer activations_mixing_fraction act_store_device prefetch_llm_batches"
        ),
    },
    "dictionary_learning": {
        _ACTIVATION: "trainer trainer_class dict_class",
        _SEVERAL: "trainer_configs",
        "n_q": "dict_size",
        _WIDTH: "activation_dim",
        "l1": "l1_penalty initial_sparsity_penalty",
        "l0": "sparsity_penalty",
        "lambda_aux": "auxk_alpha",
        _LR_WARMUP: "warmup_steps",
        _LR_DECAY: "decay_start",
        _PENALTY_WARMUP: "sparsity_warmup_steps",
        _THRESHOLD: "threshold_beta threshold_start_step",
        _K_START: "k_anneal_steps",
        _PREFIXES: "group_fractions group_sizes",
        _NO + "all `prefixes` count the same": "group_weights",
        "resample_every": "resample_steps",
        "set `l1_exponent_end`, and `l1_anneal_start`, a share of the steps": (
            "sparsity_function anneal_start anneal_end p_start p_end n_sparsity_updates sparsity_queue_length"
        ),
        _SCALING: "normalize_activations",
        _AUTOCAST: "autocast_dtype",
        "call fit(x, target), which trains a transcoder": "transcoder",
        "give the activations to `fit` as x": "data",
        _FOLDER: "save_dir",
        _CHECKPOINTS: "save_steps backup_steps",
        "log_every": "log_steps",
        _PROGRESS: "verbose",
        _WANDB: "use_wandb wandb_entity wandb_project wandb_name run_cfg",
        _NO + "fit a dictionary to each head's columns of x, with sdl.fit_many": "activations_split_by_head",
        _LAYERS: "layer submodule_name",
        _MODEL: "lm_name",
    },
    "sparsify": {
        _FLAT: "sae",
        "n_q": "num_latents",
        "set `n_q` to this factor times the dimensions of x": "expansion_factor",
        "set `decoder_norm` to unit": "normalize_decoder",
        "set `multi_k` to several k; the last one is `k`": "multi_topk",
        "set `skip` to True, and call fit(x, target), which trains a transcoder": "skip_connection",
        "call fit(x, target), which trains a transcoder": "transcode",
        "multiply `batch_size` by it, and set `accumulate` to it": "grad_acc_steps",
        "accumulate": "micro_acc_steps",
        _NO + "`fit` reconstructs activations; for KL divergence, write a loop with sdl.SparseCoder": "loss_fn",
        _LR_WARMUP: "lr_warmup_steps",
        _K_START: "k_decay_steps",
        "lambda_aux": "auxk_alpha",
        "dead_after": "dead_feature_threshold",
        "call sdl.fit_many with a `seed` for each run": "init_seeds",
        "start it by torchrun, and set split (docs/training.md#several-gpus-for-one-dictionary)": "distribute_modules",
        _CHECKPOINTS: "save_every",
        _NO + "the dictionary after the last step is kept": "save_best",
        _FOLDER: "save_dir",
        _RESUME: "resume",
        _START: "finetune",
        _WANDB: "log_to_wandb run_name wandb_log_frequency",
        _LAYERS: "hookpoints layers layer_stride",
        _TOKENS_LEFT_OUT: "exclude_tokens",
        _CONTEXT: "ctx_len",
        _MODEL: (
            "model dataset hf_token revision load_in_8bit max_examples text_column shuffle_seed "
            "data_preprocessing_num_proc data_args"
        ),
    },
    "overcomplete": {
        "n_q": "nb_concepts",
        _WIDTH: "input_shape",
        _ACTIVATION: "encoder_module",
        "set `decoder_norm` to unit for decoder rows of norm 1": "dictionary_params",
        "set `l1`, `l0` or another weight; write another term as a loss term (docs/extending.md)": "criterion",
        _STEPS: "nb_epochs",
        "gradient_clip": "clip_grad",
        "log_every": "monitoring",
        _PROGRESS: "verbose",
    },
    # torch, scikit-learn, and habit
    "": {
        "n_q": "n_latents n_features n_atoms n_components hidden_dim d_hidden dictionary_size width",
        "lr": "learning_rate",
        "steps": "num_steps n_steps max_steps num_training_steps",
        _STEPS: "epochs n_epochs num_epochs",
        "k": "top_k",
        "l1": "l1_coeff l1_coef l1_lambda l1_weight sparsity_coefficient",
        _SCHEDULE: "schedule scheduler lr_scheduler lr_schedule",
        _ADAM: "optimizer beta1 beta2 betas momentum",
        "start the same script or command by torchrun": "processes",
        _AUTOCAST: "amp fp16 bf16 mixed_precision",
        "gradient_clip": "clip_grad_norm grad_clip max_grad_norm",
        "accumulate": "gradient_accumulation_steps accumulation_steps",
        _SCALING: "normalize normalization standardize",
        _RESUME: "checkpoint resume_from",
        _FOLDER: "output_dir log_dir",
    },
}
"""Library -> answer -> the names that it answers. An answer is the name of an sdlcore setting, or a clause with sdlcore
settings in backquotes. The empty name collects names that several libraries use."""

ANSWERS = {
    library: {name: answer for answer, names in groups.items() for name in names.split()}
    for library, groups in _NAMES.items()
}
"""Library -> its setting -> the answer."""
