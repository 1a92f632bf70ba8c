"""What the ablation of languages' features computes."""

from isogloss.plan import flops
from isogloss.plan.planned_model import Cost, PlannedModel


def ablation_cost(planned: PlannedModel) -> Cost:
    """Features are counted on one half of the texts; of the other, each set of features costs the layers above.

    A language's features are taken to fire in its own texts alone, random ones in all.
    """
    study, decoder, (kind, features) = planned.study, planned.decoder, planned.sae
    settings, langs, below = study.causal, study.languages.all, study.ablated_layer(planned.name) + 1
    counted, counted_products = planned.texts(langs, settings.texts / 2)
    tokens, products = planned.texts(langs, min(settings.measured, settings.texts / 2))
    runs = 1 + len(settings.methods) * (1 + settings.repeats * len(langs))
    above = flops.forward(decoder, decoder.layers - below, tokens, products) + flops.head(decoder, tokens)
    work = flops.forward(decoder, below, counted + tokens, counted_products + products) + runs * above
    sae = flops.sae_columns(kind, decoder.d_model, features, features, counted + tokens)
    return Cost("ablate", 1, planned.weights(), counted + runs * tokens, work, sae)
