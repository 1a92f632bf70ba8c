import torch
from torch.testing import assert_close

from isogloss.disparity.alignment import own_activations
from isogloss.sae.autoencoder import Encoder, activations, load_encoder
from isogloss.sae.kinds.topk import topk_keeps
from isogloss.sae.own_feature import measure


def test_encoder_agrees_with_saelens(sae_folder):
    from sae_lens import SAE

    residual = torch.randn(3, 7, 32)
    expected = SAE.load_from_disk(sae_folder, device="cpu").encode(residual)
    encoder = load_encoder(sae_folder)
    assert (expected > 0).any()
    assert_close(activations(encoder, residual), expected, atol=1e-5, rtol=1e-5)
    chosen = torch.tensor([5, 0, 63])
    assert_close(activations(encoder, residual, chosen), expected[..., chosen], atol=1e-5, rtol=1e-5)


def test_all_features_tied_at_the_threshold_stay_on_wherever_it_is_asked():
    # Whole numbers, so that equal columns give equal z: 3, 2, 2, 1, -2 times the token's one entry.
    columns = torch.tensor([3.0, 2.0, 2.0, 1.0, -2.0])
    encoder = Encoder("topk", columns[None], torch.zeros(5), None, None, k=2, unit_norm_input=False, hook_name=None)
    residual = torch.tensor([[[9.0], [1.0], [2.0]], [[9.0], [-1.0], [0.0]]])  # BOS first
    content = torch.tensor([[False, True, True], [False, True, True]])
    z = residual * columns
    # On the first text feature 0 and both of the tied; on the second -2's sign turns, all others are below zero.
    expected = torch.tensor([[6.0, 4, 4, 0, 0], [0, 0, 0, 0, 2]])

    assert topk_keeps(encoder, z)[0, 1].tolist() == [True, True, True, False, False]
    whole = activations(encoder, residual)
    assert_close(whole.masked_fill(~content[..., None], 0).amax(dim=1), expected)
    assert_close(activations(encoder, residual, torch.tensor([2, 1])), whole[..., [2, 1]])
    every = torch.arange(5).expand(2, 5)
    assert_close(measure(encoder, residual, content, torch.arange(2), every).activation, expected)
    for feature in range(5):
        own = own_activations(encoder, residual, content, torch.tensor([feature, feature]), "none")
        assert_close(own.value, expected[:, feature])
        assert (own.active == (expected[:, feature] > 0)).all()
