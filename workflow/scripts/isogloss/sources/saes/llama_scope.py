"""Llama Scope (arXiv 2410.20526): `hyperparams.json` with `checkpoints/final.safetensors`, of OpenMOSS' code."""

from isogloss.errors import IsoglossError
from isogloss.sources.saes.folding import scale_input
from isogloss.sources.saes.published import (
    Layout,
    Opened,
    PublishedSae,
    Shape,
    check_keys,
    check_neutral,
    flag,
    mapping,
    name,
    read_config,
    whole_number,
    words,
)
from isogloss.sources.saes.tensors import floats, read_tensors

CONFIG, FILE = "hyperparams.json", "checkpoints/final.safetensors"
REQUIRED = {"encoder.weight": "W_enc.T", "encoder.bias": "b_enc", "decoder.weight": "W_dec.T"}
OPTIONAL = {"decoder.bias": "b_dec"}
READ = {
    "hook_point_in",
    "hook_point_out",
    "d_model",
    "d_sae",
    "jump_relu_threshold",
    "dataset_average_activation_norm",
    "use_decoder_bias",
    "apply_decoder_bias_to_pre_encoder",
    "sparsity_include_decoder_norm",
}
NEUTRAL = {"act_fn": ("jumprelu",), "norm_activation": ("dataset-wise",), "use_glu_encoder": (False,)}
TRAINING = words(
    "device seed dtype expansion_factor bias_init_method decoder_exactly_fixed_norm init_decoder_norm "
    "init_encoder_norm init_encoder_with_decoder_transpose lp l1_coefficient l1_coefficient_warmup_steps top_k "
    "k_warmup_steps use_batch_norm_mse use_ghost_grads tp_size ddp_size sae_pretrained_name_or_path strict_loading"
)


def _read(opened: Opened) -> PublishedSae:
    """f = z where z * ||d|| exceeds the threshold, z = W_enc s x + b_enc with s = sqrt(d_model) / mean norm.

    The files' weights are for inputs of mean norm sqrt(d_model) (`norm_activation: dataset-wise`), their threshold
    is for the model's own units, so that it is multiplied by s, as SAELens does. Activations are in the files'
    units, as SAELens and Neuronpedia have them. `sparsity_include_decoder_norm`, which SAELens leaves out, compares
    z times the norm of the feature's decoder row; the published rows have norms near 1.
    """
    config = check_keys(opened, read_config(opened, CONFIG), READ | NEUTRAL.keys() | TRAINING)
    check_neutral(opened, config, NEUTRAL)
    hook, out = name(opened, config, "hook_point_in"), name(opened, config, "hook_point_out")
    if out not in (None, hook):
        raise IsoglossError(f"{opened.where}: a transcoder from {hook} to {out}, no SAE; give another")
    norms = mapping(opened, config, "dataset_average_activation_norm")
    mean_norm = floats(norms, "in", f"{opened.where}: dataset_average_activation_norm")
    tensors = read_tensors(opened, FILE, REQUIRED, OPTIONAL)
    width = whole_number(opened, config, "d_model")
    scale = width**0.5 / mean_norm
    threshold = tensors["b_enc"].new_full(
        tensors["b_enc"].shape, scale * floats(config, "jump_relu_threshold", opened.where)
    )
    if flag(opened, config, "sparsity_include_decoder_norm", default=True):
        threshold = threshold / tensors["W_dec"].norm(dim=-1).clamp_min(1e-8)
    sae = PublishedSae(
        kind="jumprelu",
        w_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        w_dec=tensors["W_dec"],
        b_dec=tensors.get("b_dec", tensors["W_enc"].new_zeros(len(tensors["W_enc"]))),
        subtracts_b_dec=flag(opened, config, "apply_decoder_bias_to_pre_encoder", default=True),
        hook=hook,
        model="meta-llama/Llama-3.1-8B",  # the one model they were published for; the files do not say
        threshold=threshold,
        declared=_shape(opened).features,
        width=width,
    )
    return scale_input(sae, scale)


def _shape(opened: Opened) -> Shape:
    return Shape("jumprelu", whole_number(opened, read_config(opened, CONFIG), "d_sae"))


LLAMA_SCOPE = Layout((CONFIG, FILE), _read, _shape)
