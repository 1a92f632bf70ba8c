"""What published SAEs do to their input or activations, folded into the weights: the activations stay the same."""

from typing import TYPE_CHECKING, NamedTuple

from isogloss.sources.saes.published import PublishedSae

if TYPE_CHECKING:
    from torch import Tensor


def scale_input(sae: PublishedSae, factor: float) -> PublishedSae:
    """The SAE that does to x what `sae` does to x * factor (SAELens' `fold_activation_norm_scaling_factor`)."""
    return sae._replace(w_enc=sae.w_enc * factor, w_dec=sae.w_dec / factor, b_dec=sae.b_dec / factor)


def unit_norm_input(sae: PublishedSae) -> PublishedSae:
    """The SAE that sees x / ||x|| and does what `sae` does to sqrt(d) x / ||x|| (`constant_norm_rescale`)."""
    return scale_input(sae, len(sae.w_enc) ** 0.5)._replace(unit_norm_input=True)


def centre_input(sae: PublishedSae) -> PublishedSae:
    """The SAE that encodes x as `sae` encodes x - mean(x) (TransformerLens' `center_writing_weights`).

    With C = I - 11'/d: (Cx - b) W = (x - b) CW + (Cb - b) W. The reconstruction stays that of the centred stream.
    """
    b_enc = sae.b_enc
    if sae.subtracts_b_dec:
        b_enc = b_enc - sae.b_dec.mean() * sae.w_enc.sum(dim=0)
    return sae._replace(w_enc=sae.w_enc - sae.w_enc.mean(dim=0), b_enc=b_enc, centred_input=True)


def scale_activations(sae: PublishedSae) -> PublishedSae:
    """The SAE with decoder rows of norm 1 and z multiplied by the norms (`rescale_acts_by_decoder_norm`)."""
    norms = sae.w_dec.norm(dim=-1)
    return sae._replace(
        w_enc=sae.w_enc * norms, b_enc=sae.b_enc * norms, w_dec=sae.w_dec / norms.clamp_min(1e-8)[:, None]
    )


class Gate(NamedTuple):
    """The encoder of a gated SAE (arXiv 2404.16014): f = relu(e^r * xW + b_mag) where xW + b_gate > 0."""

    w_enc: "Tensor"
    r_mag: "Tensor"
    b_mag: "Tensor"
    b_gate: "Tensor"

    def jumprelu(self) -> "tuple[Tensor, Tensor, Tensor]":
        """W_enc, b_enc and threshold of the JumpReLU encoder that does the same: xW > -b_gate where z > threshold."""
        if not self.r_mag.shape == self.b_mag.shape == self.b_gate.shape == self.w_enc.shape[1:]:
            raise RuntimeError("r_mag, b_mag and b_gate are not one for each feature")
        scale = self.r_mag.exp()
        return self.w_enc * scale, self.b_mag, self.b_mag - scale * self.b_gate
