import torch
from isogloss.sae.autoencoder import activations, load_encoder
from torch.testing import assert_close


def test_encoder_agrees_with_saelens(sae_folder):
    from sae_lens import SAE

    residual = torch.randn(3, 7, 32)
    expected = SAE.load_from_disk(sae_folder, device="cpu").encode(residual)
    encoder = load_encoder(sae_folder)
    assert (expected > 0).any()
    assert_close(activations(encoder, residual), expected, atol=1e-5, rtol=1e-5)
    chosen = torch.tensor([5, 0, 63])
    assert_close(activations(encoder, residual, chosen), expected[..., chosen], atol=1e-5, rtol=1e-5)
