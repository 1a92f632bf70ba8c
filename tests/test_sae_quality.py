import pytest
import torch

from isogloss.sae import quality
from isogloss.sae.kinds.encoder import unit_norm
from isogloss.sae.kinds.topk import TopKAutoencoder
from isogloss.sae.quality import QualityMeter, measure_quality


@pytest.fixture
def sae() -> TopKAutoencoder:
    return TopKAutoencoder(8, 24, 3, generator=torch.Generator().manual_seed(1))


def test_figures_are_the_formulas(sae, monkeypatch):
    """However few tokens are held at a time: here seven, of 50 and 30."""
    monkeypatch.setattr(quality, "_VALUES", 7 * 24 + 5)
    chunks = [torch.randn(2, tokens, 8) for tokens in (50, 30)]
    found = measure_quality(iter(chunks), [4, 6], [(6, QualityMeter(sae))])[0]
    x = unit_norm(torch.cat(chunks, dim=1)[1]).double()
    with torch.no_grad():
        values, features = sae.double().encode(x)
        error = (x - sae.decode(values, features)).square().sum().item()
    assert found.n_tokens == 80
    assert found.loss == pytest.approx(error / 80, rel=1e-5)
    assert found.fvu == pytest.approx(error / (x - x.mean(dim=0)).square().sum().item(), rel=1e-5)
    assert found.l0 == pytest.approx((values > 0).sum().item() / 80)
    assert found.dead_features == 24 - len(features[values > 0].unique())


def test_no_more_is_held_than_is_allowed(sae, monkeypatch):
    monkeypatch.setattr(quality, "_VALUES", 7 * 24)
    sizes: list[int] = []
    sae.encode = lambda x: sizes.append(len(x)) or TopKAutoencoder.encode(sae, x)
    QualityMeter(sae).add(torch.randn(50, 8))
    assert sizes == [7] * 7 + [1]
