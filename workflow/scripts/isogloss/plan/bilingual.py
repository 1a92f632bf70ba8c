"""What paper C's rules compute and leave on disk: SAEs of every checkpoint, their features, the injection."""

from collections.abc import Iterator

from isogloss.config.pretrained import PretrainedModel
from isogloss.plan import flops
from isogloss.plan.planned_model import Cost, PlannedModel, chunks

FEATURE_ROW = 60  # bytes of a row of the table of features
TOKEN_ROW = 3  # bytes of a token of the token tables


def bilingual_costs(planned: PlannedModel) -> Iterator[Cost]:
    """The rules from `tokenise` to `intervene` for one model; TopK's decoder touches K rows a token."""
    study, model, decoder, layers = planned.study, planned.model, planned.decoder, planned.layers
    settings, recipe, weights = study.bilingual, model.sae, planned.weights()
    assert recipe is not None
    n_checkpoints, length = len(model.checkpoint_list), settings.tokens_per_document
    blocks = chunks(layers, settings.layers_per_job)
    jobs, n_saes = n_checkpoints * len(blocks), n_checkpoints * len(layers)

    def forward(depth: int, tokens: float) -> float:
        return flops.forward(decoder, depth, tokens * length / (length - 1), tokens * length)

    def every_checkpoint(tokens: float) -> float:
        return n_checkpoints * sum(forward(block[-1] + 1, tokens) for block in blocks)

    def encoder(tokens: float) -> float:
        return flops.sae_columns("topk", decoder.d_model, recipe.features, 0, tokens)

    if isinstance(model, PretrainedModel):
        away = sum(source.folder is None for source in model.checkpoints.values())
        seconds = away * weights / (1e6 * planned.settings.download_mb_per_second)
        yield Cost("fetch_checkpoint", n_checkpoints, "local", disk=n_checkpoints * weights, seconds=seconds)
    described = settings.evaluation_tokens
    yield Cost("tokenise", 1, "cpu", disk=TOKEN_ROW * (recipe.tokens + described))

    read = recipe.tokens + recipe.held_out_tokens
    sparse = 12.0 * decoder.d_model * recipe.k * recipe.tokens  # decoder forward, gradients, K encoder columns
    training, size = encoder(read) + sparse, n_saes * flops.sae_bytes(decoder.d_model, recipe.features)
    every = every_checkpoint(read)
    yield Cost("train_checkpoint_saes", jobs, "gpu", weights, jobs * read, every, n_saes * training, size)
    size, every = 2.0 * n_saes * recipe.features * FEATURE_ROW, every_checkpoint(described)
    sae = n_saes * encoder(described)
    yield Cost("describe_features", jobs, "gpu", weights, jobs * described, every, sae, size)
    if settings.learning_rates:
        once, sae = forward(layers[len(layers) // 2] + 1, read), len(settings.learning_rates) * training
        yield Cost("search_learning_rate", 1, "gpu", weights, read, once, sae)

    if (intervention := settings.intervention) is not None:
        below = study.intervention_place(planned.name)[1] + 1
        tokens = len(study.bilingual_languages) * intervention.documents * (length - 1)
        classes = len(intervention.classes or (*study.bilingual_languages, "mixed", "random"))
        draws = len(intervention.alphas) * len(intervention.n_features) * intervention.repeats
        variants = 1 + classes * draws
        above = forward(decoder.layers, tokens) - forward(below, tokens) + flops.head(decoder, tokens)
        work = 2 * forward(below, tokens) + variants * above
        yield Cost("intervene", 1, "gpu", 2 * weights, variants * tokens, work, encoder(tokens))
