"""Every setting of another library that is not ours gets an answer."""

import re

import pytest

from sdlcore.other_libraries import ANSWERS
from sdlcore.run import FIT, RunConfig
from sdlcore.sources.language.settings import LanguageSource
from sdlcore.suggestions import did_you_mean, hints

OURS = [*RunConfig().to_dict(), *FIT]
# All fields of SAELens 6.54.12's configurations of runners, trainers and (training) SAEs, all arguments of the trainers
# and of trainSAE of dictionary_learning 0.1.0 and 60ec6bf, all fields of the configurations of sparsify 1.3.3, and the
# arguments of TopKSAE and train_sae of overcomplete
THEIRS = {
    "SAELens": """
        act_store_device activation_normalization_factor activations_mixing_fraction adam_beta1 adam_beta2
        apply_b_dec_to_input autocast autocast_data autocast_lm autocast_sae aux_loss_coefficient batch_size
        bottleneck_factor cached_activations_path checkpoint_path compile_llm compile_sae context_size d_in d_out
        d_sae dataset_path dataset_trust_remote_code dead_feature_threshold dead_feature_window decoder_init_norm
        device disable_concat_sequences dtype eval_batch_size_prompts eval_every_n_wandb_logs eval_frequency
        eval_samples evaluator exclude_special_tokens feature_sampling_window from_pretrained_path hook_eval
        hook_head_index hook_head_indices hook_name hook_names is_dataset_tokenized jumprelu_bandwidth
        jumprelu_init_threshold jumprelu_sparsity_loss_mode jumprelu_ste_to_input jumprelu_tanh_scale k kval_topk
        l0_coefficient l0_warm_up_steps l1_coefficient l1_warm_up_steps llm_compilation_mode llm_device
        log_activations_store_to_wandb log_optimizer_state_to_wandb log_to_wandb log_weights_to_wandb logger lp_norm
        lr lr_decay_steps lr_end lr_scheduler_name lr_warm_up_steps matryoshka_widths max_iterations metadata
        model_class_name model_from_pretrained_kwargs model_kwargs model_name n_attn_layers
        n_batches_for_norm_estimate n_batches_in_buffer n_checkpoints n_eval_batches n_heads n_restart_cycles
        normalize_activations output_path pre_act_loss_coefficient prefetch_llm_batches prepend_bos
        rescale_acts_by_decoder_norm reshape_activations residual_threshold resume_from_checkpoint run_final_eval
        run_name sae sae_compilation_mode sae_diff_type sae_lens_training_version sae_lens_version saes
        save_final_checkpoint save_synthetic_model seed seqpos_slice sequence_separator_token
        stop_on_duplicate_support store_batch_size_prompts streaming synthetic_model target_l0 tied_weights
        topk_threshold_lr total_training_samples train_batch_size_samples train_batch_size_tokens training_samples
        training_tokens use_cached_activations use_chat_formatting use_matryoshka_aux_loss use_sparse_activations
        verbose wandb_entity wandb_id wandb_log_frequency wandb_project
    """,
    "dictionary_learning": """
        activation_dim activations_split_by_head anneal_end anneal_start autocast_dtype auxk_alpha backup_steps
        bandwidth data decay_start device dict_class dict_size group_fractions group_weights
        initial_sparsity_penalty k k_anneal_steps l1_penalty layer lm_name log_steps lr n_sparsity_updates
        normalize_activations p_end p_start resample_steps run_cfg save_dir save_steps seed sparsity_function
        sparsity_penalty sparsity_queue_length sparsity_warmup_steps steps submodule_name target_l0 threshold_beta
        threshold_start_step trainer_configs transcoder use_wandb verbose wandb_entity wandb_name wandb_project
        warmup_steps
    """,
    "sparsify": """
        activation auxk_alpha batch_size ctx_len data_args data_preprocessing_num_proc dataset
        dead_feature_threshold distribute_modules exclude_tokens expansion_factor finetune grad_acc_steps hf_token
        hookpoints init_seeds k k_decay_steps layer_stride layers load_in_8bit log_to_wandb loss_fn lr
        lr_warmup_steps max_examples micro_acc_steps model multi_topk normalize_decoder num_latents optimizer resume
        revision run_name sae save_best save_dir save_every shuffle_seed skip_connection split text_column transcode
        wandb_log_frequency
    """,
    "overcomplete": """
        clip_grad criterion dictionary_params device encoder_module input_shape monitoring nb_concepts nb_epochs
        optimizer top_k verbose
    """,
}


@pytest.mark.parametrize("library", THEIRS)
def test_every_setting_of_another_library_is_ours_or_gets_an_answer(library):
    names = THEIRS[library].split()
    for name in names:
        hint = did_you_mean(name, OURS)
        assert name in OURS or (hint and "did you mean" not in hint and "`" not in hint), name
    assert not set(ANSWERS[library]) & set(OURS), "an answer that nobody can see"
    of_files = {"architecture", "group_sizes", "trainer", "trainer_class"}
    assert not set(ANSWERS[library]) - set(names) - of_files, "a setting that the library does not have"


def test_answers_name_existing_settings():
    names_of_settings = {*OURS, "fit", *LanguageSource.model_fields}
    for library, settings in ANSWERS.items():
        for name, answer in settings.items():
            named = [answer] if answer.isidentifier() else re.findall("`([^`]*)`", answer)
            assert set(named) <= names_of_settings, (library, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "jumprelu_ste_to_input",
            "; not a setting here: l0 weighs a penalty, whose straight-through kernel is bandwidth wide",
        ),
        ("autocast", "; set precision to bfloat16"),
        ("scheduler", "; the learning rate rises over lr_warmup and falls to zero over lr_decay, each .*"),
        ("lr_schedule", "; the learning rate rises over lr_warmup and .*"),
        ("betas", r"; not a setting here: the optimiser is Adam with betas \(0.9, 0.999\); for .*"),
        ("auxk_alpha", "; here it is called lambda_aux"),
        (
            "dead_feature_threshold",
            "; in SAELens: not a setting here: a latent .*; in sparsify: here it is called dead_after",
        ),
        ("batchsize", r"; did you mean batch_size\?"),
        ("lr_shape", ""),
        ("beat", ""),
    ],
)
def test_an_answer_comes_before_letters_that_are_alike(name, message):
    assert re.fullmatch(message, did_you_mean(name, OURS))


def test_answers_to_several_names_say_to_which():
    message = hints(["autocast", "sed", "xyz"], OURS)
    assert message == "; autocast: set precision to bfloat16; sed: did you mean seed?"


def test_a_clause_about_trainings_answers_no_key_of_anything_else():
    assert did_you_mean("autocast", ["rows", "columns"]) == ""
