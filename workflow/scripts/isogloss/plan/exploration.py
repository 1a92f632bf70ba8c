"""What the feature explorer computes."""

from isogloss.plan import flops
from isogloss.plan.planned_model import Cost, PlannedModel

_LISTS = 3  # of four that a model may have, features in two of them counted once


def explored_features(planned: PlannedModel) -> int:
    """Features of a layer that are shown, at most."""
    return min(planned.sae[1], _LISTS * planned.study.explorer.features)


def exploration_cost(planned: PlannedModel) -> Cost:
    """The texts of the features that are shown, each to its layer, and one column of that layer's SAE."""
    study, decoder, (kind, features) = planned.study, planned.decoder, planned.sae
    settings, langs, layers = study.explorer, study.languages.all, study.explorer.shown(planned.model.layer_list)
    shown = explored_features(planned)
    tokens, products = planned.texts(langs, shown * (settings.phrases + settings.contexts))
    forward = flops.forward(decoder, sum(layer + 1 for layer in layers), tokens, products)
    sae = len(layers) * flops.sae_columns(kind, decoder.d_model, features, 1, tokens)
    jobs = int(settings.features > 0)
    return Cost("explore", jobs, planned.weights(layers[-1] + 1), len(layers) * tokens, forward, sae)
