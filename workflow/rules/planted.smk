# What measures find of the shares that were planted in toy models, across models.
#   in:  final tables of the toy models with planted shares and of their controls, the same with equal shares
#   out: results/comparison/tables/planted_truth.parquet, a verdict a measure, and the points behind it
from isogloss.joined.measures import shared_tables

CONTROLS = {model: STUDY.control_of(model) for model in TOYS if STUDY.control_of(model)}


def measured_tables():
    """The final tables with measures that a model and its control both have, by model and name."""
    tables = {model: {} for model in [*CONTROLS, *CONTROLS.values()]}
    for pair in CONTROLS.items():
        for name in shared_tables(*(STUDY.models[model].analyses for model in pair)):
            for model in pair:
                tables[model][name] = f"results/{model}/tables/{name}.parquet"
    return tables


rule planted_truth:
    input:
        [path for tables in measured_tables().values() for path in tables.values()],
    output:
        planted_truth="results/comparison/tables/planted_truth.parquet",
        planted_truth_points="results/comparison/tables/planted_truth_points.parquet",
    log:
        "results/comparison/logs/planted_truth.log",
    benchmark:
        "results/comparison/usage/planted_truth.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("planted_truth"),
        seed=STUDY.seed,
        tables=measured_tables(),
        pairs=[[STUDY.seed_of(model), model, control] for model, control in CONTROLS.items()],
        shares={model: STUDY.models[model].shares for model in measured_tables()},
        reference=REFERENCE,
        without_control=[model for model in TOYS if model not in measured_tables()],
    message:
        "Hold the measures against the planted shares"
    script:
        "../scripts/planted_truth.py"
