"""SAELens' own layout: `cfg.json` with `sae_weights.safetensors`, of version 6 (`metadata` in it) and those before."""

from typing import Any

from isogloss.errors import IsoglossError
from isogloss.sources.saes.folding import Gate, centre_input, scale_activations, scale_input, unit_norm_input
from isogloss.sources.saes.published import (
    Layout,
    Opened,
    PublishedSae,
    Shape,
    as_json,
    check_keys,
    check_neutral,
    flag,
    mapping,
    name,
    read_config,
    whole_number,
    words,
)
from isogloss.sources.saes.tensors import positive_thresholds, read_tensors

CONFIG, FILE = "cfg.json", "sae_weights.safetensors"
RENAMED = {
    "hook_point": "hook_name",
    "hook_point_layer": "hook_layer",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
READ = words(
    "architecture d_in d_sae k activation_fn activation_fn_kwargs apply_b_dec_to_input normalize_activations "
    "rescale_acts_by_decoder_norm finetuning_scaling_factor hook_name hf_hook_name model_name "
    "model_from_pretrained_kwargs unit_norm_input"
)
NEUTRAL = {
    "hook_head_index": (None,),
    "hook_name_out": (None,),
    "hook_head_index_out": (None,),
    "hf_hook_name_out": (None,),
    "reshape_activations": ("none",),
    "prepend_bos": (True,),  # texts are read after BOS
    "seqpos_slice": (None, [None], [None, None], [0, None], [0]),  # positions that it was trained on
    "activation_fn": ("relu", "topk"),
}
OPTIONAL = {"prepend_bos", "seqpos_slice", "model_from_pretrained_kwargs"}  # of the context, which users may know about
# About training and data. Special tokens are not read but BOS, which is left out of every measure.
HARMLESS = words(
    "sae_lens_version sae_lens_training_version metadata dtype device hook_layer model_class_name "
    "exclude_special_tokens neuronpedia_id context_size dataset_path dataset_trust_remote_code release sae_id "
    "isogloss step tokens expansion_factor l1_coefficient lp_norm lr lr_end lr_scheduler_name lr_warm_up_steps "
    "lr_decay_steps l1_warm_up_steps training_tokens total_training_tokens train_batch_size train_batch_size_tokens "
    "store_batch_size store_batch_size_prompts n_batches_in_buffer is_dataset_tokenized use_cached_activations "
    "cached_activations_path streaming from_pretrained_path b_dec_init_method use_ghost_grads normalize_sae_decoder "
    "noise_scale decoder_orthogonal_init decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm "
    "init_encoder_as_decoder_transpose mse_loss_normalization scale_sparsity_penalty_by_decoder_norm "
    "jumprelu_init_threshold jumprelu_bandwidth jumprelu_sparsity_loss_mode jumprelu_tanh_scale l0_coefficient "
    "l0_warm_up_steps pre_act_loss_coefficient target_l0 aux_loss_coefficient topk_threshold_lr matryoshka_widths "
    "use_matryoshka_aux_loss use_sparse_activations adam_beta1 adam_beta2 seed run_name log_to_wandb wandb_project "
    "wandb_id wandb_entity wandb_log_frequency eval_every_n_wandb_logs n_checkpoints checkpoint_path verbose "
    "dead_feature_window dead_feature_threshold dead_feature_estimation_method feature_sampling_window "
    "feature_sampling_method feature_reinit_scale resample_batches finetuning_tokens finetuning_method n_eval_batches "
    "eval_batch_size_prompts autocast autocast_lm compile_llm compile_sae model_kwargs act_store_device "
    "n_restart_cycles tokens_per_buffer d_sae_override hook_point_template sparsity log_optimizer_state_to_wandb "
    "llm_compilation_mode sae_compilation_mode training_architecture training_architecture_details "
    "sequence_separator_token disable_concat_sequences num_dead_features"
)
ARCHITECTURES = {
    "standard": "standard",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "jumprelu",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
}
# What TransformerLens may do to a model that leaves the residual stream after a block as it is.
SAME_STREAM = words(
    "fold_ln center_unembed fold_value_biases refactor_factored_attn_matrices default_prepend_bos dtype torch_dtype "
    "device n_devices move_to_device"
)
LAYER_NORM = ("gpt2", "gpt-neo", "pythia", "opt-", "bloom")  # models whose weights it can centre: those with LayerNorm
ENCODER = {"W_enc": "W_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
MORE = {"scaling_factor": "scaling_factor", "topk_threshold": "threshold"}
TENSORS = {
    "standard": {**ENCODER, "b_enc": "b_enc"},
    "topk": {**ENCODER, "b_enc": "b_enc"},
    "jumprelu": {**ENCODER, "b_enc": "b_enc", "threshold": "threshold"},
    "gated": {**ENCODER, "r_mag": "r_mag", "b_mag": "b_mag", "b_gate": "b_gate"},
    "batchtopk": {**ENCODER, "b_enc": "b_enc"},
    "matryoshka_batchtopk": {**ENCODER, "b_enc": "b_enc"},
}


def _read(opened: Opened) -> PublishedSae:
    """The SAE whose `encode` in SAELens gives the same activations, with all that SAELens does to inputs folded in.

    A gated SAE becomes the JumpReLU SAE that it equals, a BatchTopK one that with its threshold, as SAELens itself
    saves it for inference.
    """
    config, architecture = _config(opened)
    kind = ARCHITECTURES[architecture]
    tensors = read_tensors(opened, FILE, TENSORS[architecture], MORE)
    if "batchtopk" in architecture and "threshold" not in tensors:
        raise IsoglossError(
            f"{opened.where}: a BatchTopK SAE without its threshold, so that activations depend on what else is in the"
            " batch; save it by SAELens' save_inference_model"
        )
    w_enc, b_enc, threshold = tensors["W_enc"], tensors.get("b_enc"), tensors.get("threshold")
    if architecture == "gated":
        w_enc, b_enc, threshold = Gate(w_enc, tensors["r_mag"], tensors["b_mag"], tensors["b_gate"]).jumprelu()
    elif threshold is not None:
        threshold = positive_thresholds(threshold, f"{opened.where}: {FILE}")
    assert b_enc is not None
    if threshold is not None and threshold.ndim == 0:  # BatchTopK's, one for all features
        threshold = threshold.expand_as(b_enc).contiguous()
    sae = PublishedSae(
        kind=kind,
        w_enc=w_enc,
        b_enc=b_enc,
        w_dec=_finetuned(opened, config, tensors),
        b_dec=tensors["b_dec"],
        subtracts_b_dec=flag(opened, config, "apply_b_dec_to_input", default=True),
        hook=name(opened, config, "hook_name") or name(opened, config, "hf_hook_name"),
        model=name(opened, config, "model_name"),
        threshold=threshold,
        k=_k(opened, config) if kind == "topk" else None,
        unit_norm_input=flag(opened, config, "unit_norm_input"),
        declared=_shape(opened).features,
        width=whole_number(opened, config, "d_in"),
    )
    if flag(opened, config, "rescale_acts_by_decoder_norm"):
        sae = scale_activations(sae)
    return _centred(opened, config, _normalised(opened, config, sae))


def _config(opened: Opened) -> tuple[dict[str, Any], str]:
    """The config with `metadata` in it, keys as version 6 calls them, and the architecture."""
    config = {**read_config(opened, CONFIG), **opened.overrides}
    metadata = mapping(opened, config, "metadata")
    config.pop("metadata", None)
    config = {RENAMED.get(key, key): value for key, value in (config | metadata).items()}
    if "d_in" not in config:
        raise IsoglossError(f"{opened.where}: {CONFIG} is not the config of an SAE in SAELens' format")
    architecture = name(opened, config, "architecture") or "standard"
    if architecture not in ARCHITECTURES:
        raise IsoglossError(
            f"{opened.where}: its architecture is {architecture}; understood are {', '.join(ARCHITECTURES)}"
        )
    config = check_keys(opened, config, READ | NEUTRAL.keys() | HARMLESS, optional=OPTIONAL)
    check_neutral(opened, config, NEUTRAL, OPTIONAL)
    if config.get("activation_fn") == "topk":
        architecture = "topk"
    return config, architecture


def _k(opened: Opened, config: dict[str, Any]) -> int:
    given = mapping(opened, config, "activation_fn_kwargs")
    return whole_number(opened, {"k": given.get("k", config.get("k"))}, "k")


def _finetuned(opened: Opened, config: dict[str, Any], tensors: dict[str, Any]) -> Any:
    """W_dec, times the factors by which finetuning scaled what is decoded; activations stay as they are."""
    factor = tensors.get("scaling_factor")
    if factor is None or bool((factor == 1).all()):
        return tensors["W_dec"]
    if factor.shape != tensors["W_dec"].shape[:1]:
        raise IsoglossError(f"{opened.where}: {FILE}: scaling_factor is not one for each feature; fetch it again")
    if not flag(opened, config, "finetuning_scaling_factor"):
        raise IsoglossError(
            f"{opened.where}: has scaling_factor, but its config says that finetuning_scaling_factor is off; give"
            " another SAE"
        )
    return tensors["W_dec"] * factor[:, None]


def _normalised(opened: Opened, config: dict[str, Any], sae: PublishedSae) -> PublishedSae:
    how = config.get("normalize_activations")
    if how is True or how == "expected_average_only_in":
        if opened.scale is None:
            raise IsoglossError(
                f"{opened.where}: inputs are scaled to an expected norm (normalize_activations) by a factor that is not"
                " in the files; give saes.release if SAELens' directory knows it, or an SAE with the factor folded in"
            )
        return scale_input(sae, opened.scale)
    if how == "constant_norm_rescale":
        return unit_norm_input(sae)
    if how not in (None, False, "none"):
        raise IsoglossError(
            f"{opened.where}: the SAE rescales its input (normalize_activations {as_json(how)}), which isogloss does"
            " not do; give another SAE"
        )
    return sae


def _centred(opened: Opened, config: dict[str, Any], sae: PublishedSae) -> PublishedSae:
    """`sae` on the stream as transformers has it, if it was trained on one that TransformerLens changed."""
    changes = mapping(opened, config, "model_from_pretrained_kwargs")
    centred = flag(opened, changes, "center_writing_weights")
    unknown = [key for key in changes if key not in {*SAME_STREAM, "center_writing_weights"}]
    if centred and not any(part in str(config.get("model_name")).lower() for part in LAYER_NORM):
        unknown.append("center_writing_weights")  # of a model of which it is not known whether it was done
    if centred and sae.unit_norm_input:
        unknown.append("center_writing_weights")  # the norm would be that of the centred stream
    if unknown:
        raise IsoglossError(
            f"{opened.where}: trained on a model loaded with {', '.join(unknown)} (model_from_pretrained_kwargs), which"
            " isogloss does not do; give another SAE, or name model_from_pretrained_kwargs in saes.ignore"
        )
    return centre_input(sae) if centred else sae


def _shape(opened: Opened) -> Shape:
    config, architecture = _config(opened)
    return Shape(ARCHITECTURES[architecture], whole_number(opened, config, "d_sae"))


SAELENS = Layout((CONFIG, FILE), _read, _shape)
