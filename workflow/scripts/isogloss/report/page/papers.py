"""What the landing page says of the papers: what they ask, and what must be kept in mind of their measures."""

from collections.abc import Mapping
from typing import Any

from isogloss.report.shared.wording import name

PAPER_A, PAPER_B, PAPER_C = {"similarity", "gap", "alignment", "benchmarks"}, {"latent"}, {"bilingual"}
PHRASES = PAPER_A - {"benchmarks"}
"""The analyses that measure phrases."""


def asks(settings: Mapping[str, Any], analyses: set[str]) -> bool:
    """Whether any model is asked for any of the analyses."""
    return any(analyses & set(model["analyses"]) for model in settings["models"].values())


def _has(settings: Mapping[str, Any], trait: str) -> bool:
    """Whether paper C's analyses are asked of any model with a trait: checkpoints, or injected."""
    return any("bilingual" in model["analyses"] and trait in model["traits"] for model in settings["models"].values())


def questions(settings: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What each paper asks of which a study runs an analysis: the question, the paper's title and its arXiv number."""
    reference = name(settings["languages"]["reference"])
    bilingual = "Which of a model's features are of one language, which of several?"
    if _has(settings, "checkpoints"):
        bilingual = (
            "When in training do features come to serve several languages, and do these help an unfinished model?"
        )
    papers = (
        (
            PAPER_A,
            "Do a model's features answer less to a language that it has read less of, does that go with fewer right"
            f" answers, and can it be mended without harm to {reference}?",
            "Uncovering Cross-Linguistic Disparities in LLMs using Sparse Autoencoders",
            "2507.18918",
        ),
        (
            PAPER_B,
            f"Is the same question answered alike in every language, do the layers work in {reference}, and can they be"
            " steered so that answers improve?",
            "Language-Specific Latent Process Hinders Cross-Lingual Performance",
            "2505.13141",
        ),
        (
            PAPER_C,
            bilingual,
            "How a Bilingual LM Becomes Bilingual: Tracing Internal Representations with Sparse Autoencoders",
            "2503.06394",
        ),
    )
    return [(question, title, number) for analyses, question, title, number in papers if asks(settings, analyses)]


def _phrase(phrases: Mapping[str, Any]) -> str:
    return "a segment" if phrases["unit"] == "segment" else f"a window of {2 * phrases['window'] + 1} tokens"


def caveats(settings: Mapping[str, Any]) -> list[str]:
    """What must be kept in mind of the measures that were taken."""
    reference = name(settings["languages"]["reference"])
    items: list[str] = []
    if asks(settings, PHRASES):
        items += [
            f"{reference} phrases are the top activators of the very feature that is then measured; their translations"
            " are not chosen so. Part of every gap to the reference is this choice (regression to the mean), and the"
            " p-values of the languages' gaps test a null that this choice alone breaks. The gap between groups without"
            f" {reference} compares translations with translations, and stands beside the other in every table"
            f"{'; the symmetric gap takes the choice out' if asks(settings, {'gap'}) else ''}.",
            f"A phrase is {_phrase(settings['phrases'])} without the context in which its feature fired, in {reference}"
            " too: gaps compare phrases with phrases, never with the activations recorded in the corpus.",
            "A gap is a property of the features of these SAEs as much as of the model.",
            "Several features share texts, which the activation intervals ignore: they may be too narrow.",
        ]
    if asks(settings, PAPER_B):
        items += [
            "The logit lens reads a layer as if it were the last: that it finds little of a language in a layer does"
            " not show that the layer holds none.",
            "Log ratios compare probabilities per token: a text cut into more and easier tokens is favoured, so part of"
            " a language's log ratio is its tokens'. Correlations over languages have many causes in common, the share"
            " of the training texts above all.",
            "What steering gains is judged on questions that did not choose its layer and strength; tables and figures"
            " of all settings are not, so that the best of them errs on the high side.",
        ]
    if asks(settings, PAPER_C):
        items.append(
            "Classes and monosemanticity depend on the thresholds and the clustering of the section bilingual of the"
            " configuration. A class rests on the strongest activations of a feature, in many on one or a few tokens,"
            " and says little of where else it fires."
        )
    if _has(settings, "checkpoints"):
        items.append(
            "Each checkpoint and layer has an SAE of its own: a change over training is one of model and SAE together,"
            " and features of two checkpoints are not the same features."
        )
    if _has(settings, "injected"):
        items.append(
            "Injected features come from the fully trained model's reading of the same text: that they help shows what"
            " the unfinished model lacks, not a way to train it."
        )
    if asks(settings, {"causal"}):
        items.append(
            "The loss without a language's features tells what the later layers lose where nothing else is changed; it"
            " does not tell that the features do nothing else, nor that no other features carry the language."
        )
    items.append(
        "Intervals cover the choice of features, phrases, documents and questions, not another training run of the"
        " models or SAEs."
    )
    if settings["translation"]["backend"] != "parallel" and asks(settings, PHRASES):
        items.append(
            "Phrases are machine-translated, and windows often broken sentences: a gap is one of model, translator and"
            " language together. The controls show the gap over the better half of the round trips where there are any."
        )
    return items
