"""What paper C's rules compute and leave on disk: SAEs of every checkpoint, their features, the injection."""

from collections.abc import Iterator

from isogloss.config.pretrained import PretrainedModel
from isogloss.plan import flops
from isogloss.plan.stages import Cost
from isogloss.plan.subject import Subject, chunks

FEATURE_ROW = 60  # bytes of a row of the table of features
TOKEN_ROW = 3  # bytes of a token of the token tables


def bilingual_costs(subject: Subject) -> Iterator[Cost]:
    """The rules from `tokenise` to `intervene` for one model; TopK's decoder touches K rows a token."""
    study, model, name, decoder = subject.study, subject.model, subject.name, subject.decoder
    asked, recipe, layers = study.bilingual, model.sae, subject.layers
    assert recipe is not None
    d, weights = decoder.d_model, decoder.parameters() * subject.weight_bytes
    checkpoints = len(model.checkpoint_list)
    blocks = chunks(layers, asked.layers_per_job)
    length = asked.tokens_per_document
    jobs = checkpoints * len(blocks)

    def once(depth: int, tokens: float) -> float:
        return flops.forward(decoder, depth, tokens * length / (length - 1), tokens * length)

    def each(rule: str, tokens: float, sae: float, disk: float) -> Cost:
        forward = checkpoints * sum(once(block[-1] + 1, tokens) for block in blocks)
        return Cost(rule, name, jobs, "gpu", weights, subject.dtype, jobs * tokens, forward, sae, disk)

    def encoder(tokens: float) -> float:
        return flops.sae_columns("topk", d, recipe.features, 0, tokens)

    if isinstance(model, PretrainedModel):
        away = sum(source.folder is None for source in model.checkpoints.values())
        seconds = away * weights / (1e6 * subject.settings.download_mb_per_second)
        yield Cost("fetch_checkpoint", name, checkpoints, "local", disk=checkpoints * weights, seconds=seconds)
    yield Cost("tokenise", name, 1, "cpu", disk=TOKEN_ROW * (recipe.tokens + asked.evaluation_tokens))
    trained, held_out = recipe.tokens, recipe.held_out_tokens
    count = checkpoints * len(layers)
    sparse = 12.0 * d * recipe.k * trained  # decoder forward, its gradients and those of K encoder columns
    yield each(
        "train_checkpoint_saes",
        trained + held_out,
        count * (encoder(trained + held_out) + sparse),
        count * flops.sae_bytes(d, recipe.features),
    )
    yield each(
        "describe_features",
        asked.evaluation_tokens,
        count * encoder(asked.evaluation_tokens),
        2.0 * count * recipe.features * FEATURE_ROW,
    )
    if asked.learning_rates:
        middle = layers[len(layers) // 2]
        rates = len(asked.learning_rates)
        tokens = trained + held_out
        sae = rates * (encoder(tokens) + sparse)
        yield Cost(
            "search_learning_rate", name, 1, "gpu", weights, subject.dtype, tokens, once(middle + 1, tokens), sae
        )
    told = asked.intervention
    if told is not None:
        _, layer = study.intervention_place(name)
        tokens = len(study.bilingual_languages) * told.documents * (length - 1)
        classes = len(told.classes or (*study.bilingual_languages, "mixed", "random"))
        variants = 1 + classes * len(told.alphas) * len(told.n_features) * told.repeats
        above = once(decoder.layers, tokens) - once(layer + 1, tokens) + flops.head(decoder, tokens)
        forward = 2 * once(layer + 1, tokens) + variants * above
        yield Cost("intervene", name, 1, "gpu", 2 * weights, subject.dtype, variants * tokens, forward, encoder(tokens))
