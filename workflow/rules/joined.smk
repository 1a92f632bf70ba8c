# What joins the three papers, and what models have to do with one another.
#   in:  final tables of a model (by language); of all models (with their sizes, by their files)
#   out: joined tables a model; results/comparison/tables: models, sizes, size_regression, where there are several models
from isogloss.joined.instruments import compared_tables, joined_tables, joins
from isogloss.languages import in_order, language

JOINED_MODELS = [model for model, part in STUDY.models.items() if joins(part.analyses)]


def tables_to_join(wildcards):
    """A model's final tables by language, by name."""
    names = joined_tables(model_of(wildcards).analyses, steers=STUDY.latent.steering is not None)
    return {name: f"results/{wildcards.model}/tables/{name}.parquet" for name in names}


def scores_to_count(wildcards):
    """The scores whose answers' tokens are counted, each table with its language, where no phrases' are."""
    analyses = model_of(wildcards).analyses
    if "latent" not in analyses or "gap" in analyses:
        return {}
    return {path: lang for path, (_, lang) in score_tables(wildcards).items()}


def joined_languages(wildcards):
    """Script and family of each language that a model is measured in."""
    analyses = model_of(wildcards).analyses
    others = LATENT_LANGUAGES if "latent" in analyses else []
    features = STUDY.bilingual_languages if "bilingual" in analyses else []
    rows = {lang: language(lang) for lang in in_order({*LANGUAGES, *others, *features})}
    return {lang: [row.script, row.top_family] for lang, row in rows.items()}


rule join:
    input:
        tables=lambda wildcards: tables_to_join(wildcards).values(),
        scores=in_folders(scores_to_count),
    output:
        joined="results/{model}/tables/joined.parquet",
        joined_correlations="results/{model}/tables/joined_correlations.parquet",
        joined_incremental="results/{model}/tables/joined_incremental.parquet",
    log:
        "results/{model}/logs/join.log",
    benchmark:
        "results/{model}/usage/join.tsv"
    wildcard_constraints:
        model=one_of(JOINED_MODELS),
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics),
        code=code("join"),
        seed=STUDY.seed,
        tables=tables_to_join,
        scores=scores_to_count,
        languages=joined_languages,
        reference=REFERENCE,
    message:
        "Join the measures of {wildcards.model} by language"
    script:
        "../scripts/join.py"


if len(STUDY.models) > 1:

    rule compare_models:
        input:
            lm=[f"results/{model}/lm" for model in STUDY.models],
            tables=[
                f"results/{model}/tables/{name}.parquet"
                for model, part in STUDY.models.items()
                for name in compared_tables(part.analyses)
            ],
        output:
            models="results/comparison/tables/models.parquet",
            sizes="results/comparison/tables/sizes.parquet",
            size_regression="results/comparison/tables/size_regression.parquet",
        log:
            "results/comparison/logs/compare_models.log",
        benchmark:
            "results/comparison/usage/compare_models.tsv"
        conda:
            "../../envs/isogloss.yaml"
        params:
            **sections(statistics=STUDY.statistics.only("confidence")),
            code=code("compare_models"),
            folders={model: f"results/{model}/lm" for model in STUDY.models},
            tables={
                model: {name: f"results/{model}/tables/{name}.parquet" for name in compared_tables(part.analyses)}
                for model, part in STUDY.models.items()
            },
        message:
            "Compare the models"
        script:
            "../scripts/compare_models.py"
