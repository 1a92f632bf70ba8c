"""The findings of one model as parts of the landing page."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report import bilingual_findings, findings, latent_findings
from isogloss.report.markup import bullets, paragraph, picture, safe

Tables = Mapping[str, pl.DataFrame]


def found(model: str, its: Tables, pictures: Mapping[str, bytes], settings: Mapping[str, Any]) -> list[str]:
    """The findings of one model: only of the analyses that were run on it."""
    languages, confidence = settings["languages"], settings["statistics"]["confidence"]
    reference = languages["reference"]
    parts = [f"<h2>Found: {safe(settings['models'][model]['title'])}</h2>"]
    if "similarity" in its:
        parts += ["<h3>Embedding similarity</h3>", bullets([findings.similarity(its["similarity"], reference)])]
    if "group_gap" in its:
        parts += [
            "<h3>Activation gap</h3>",
            bullets(
                [
                    *findings.group_gap(its["group_gap"], settings["gap"]["variant"], reference, confidence),
                    findings.language_gaps(its["language_gap_summary"], reference, confidence),
                ]
            ),
            picture(pictures, "group_gap", "Gap between the groups by layer"),
            "<h3>Controls of the gap</h3>",
            bullets(findings.controls(its["activation_controls"], reference)),
        ]
    if "accuracy" in its:
        parts += [
            "<h3>Benchmarks</h3>",
            bullets(
                [
                    *findings.accuracy(its["accuracy"], reference, languages["medium_low_resource"], confidence),
                    *(
                        findings.correlation(its["gap_accuracy_correlation"], confidence)
                        if "gap_accuracy_correlation" in its
                        else []
                    ),
                    *(
                        findings.teaching(its["accuracy_by_teaching"], reference, confidence)
                        if "accuracy_by_teaching" in its
                        else []
                    ),
                ]
            ),
            picture(pictures, "gap_accuracy_correlation", "Gap against accuracy by task"),
        ]
    if "alignment_gain" in its:
        runs = settings["alignment"]["runs"]
        changed = findings.accuracy_change(its["accuracy"], confidence) if "accuracy" in its else []
        parts += [
            "<h3>Activation alignment</h3>",
            paragraph(
                "Gain and retention are of all features of the target layer, as in the paper. What features held out of"
                " training gain, none of whose texts was trained on, tells whether alignment carries over."
            ),
            bullets([*findings.alignment(its["alignment_gain"], runs, reference, confidence), *changed]),
            picture(pictures, "alignment_gain", "Activation gain by language"),
        ]
    if "selectivity" in its:
        injected = (
            bilingual_findings.intervention(its["intervention_summary"], confidence)
            if "intervention_summary" in its
            else []
        )
        parts += [
            "<h3>Bilingual features</h3>",
            bullets([*bilingual_findings.selectivity(its["selectivity"], confidence), *injected]),
            picture(pictures, "selectivity", "Classes of features over training at the middle layer"),
            picture(pictures, "intervention", "Change of perplexity after injection by class"),
        ]
    if "transfer_summary" in its:
        parts += _latent(its, pictures, reference, confidence)
    if "phrase_counts" in its:
        parts += ["<h3>What was dropped</h3>", bullets(findings.dropped(its))]
    return parts


def _latent(its: Tables, pictures: Mapping[str, bytes], reference: str, confidence: float) -> list[str]:
    """The findings of paper B."""
    steered = (
        latent_findings.steering(its["steering"], its["steering_summary"], confidence) if "steering" in its else []
    )
    taught = (
        latent_findings.teaching(its["latent_by_teaching"], reference, confidence)
        if "latent_by_teaching" in its
        else []
    )
    return [
        "<h3>Latent language and transfer</h3>",
        bullets(
            [
                *latent_findings.answers(its["answers"], reference, confidence),
                *latent_findings.transfer(its["transfer_summary"], its["transfer"], reference, confidence),
                *latent_findings.latent(its["latent"], reference, confidence),
                *latent_findings.correlation(its["latent_correlation"], confidence),
                *steered,
                *taught,
            ]
        ),
        picture(pictures, "transfer", "Positive transfer between all pairs of languages"),
        picture(pictures, "latent", "Log ratio of native to reference answers by layer"),
        picture(pictures, "steering", "Change of accuracy, consistency and transfer by strength of steering"),
    ]
