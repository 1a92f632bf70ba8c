# Figures, tables, the overview and report.html.
#   in:  final tables
#   out: an SVG a figure, an HTML page a table, the landing page, results/report.html
# Local rules: seconds each, less than a cluster takes to start a job.


def figure_inputs(name):
    """An input function: the Parquet tables that a figure is drawn from."""
    return lambda wildcards: catalogue.figure_inputs(config, name, wildcards.model)


for name, entry in catalogue.FIGURES.items():

    rule:
        name:
            f"figure_{name}"
        input:
            figure_inputs(name),
        output:
            report(
                f"results/{{model}}/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category=entry.category,
                subcategory=entry.subcategory,
                labels={"model": "{model}", "figure": entry.title},
            ),
        log:
            f"results/{{model}}/logs/figures/{name}.log",
        benchmark:
            f"results/{{model}}/usage/figures/{name}.tsv"
        localrule: True
        conda:
            "../../envs/isogloss.yaml"
        params:
            code=code("figure"),
            name=name,
            settings=catalogue.figure_settings(config),
        message:
            f"Draw {entry.title} of {{wildcards.model}}"
        script:
            "../scripts/figure.py"


for name, entry in catalogue.TABLES.items():

    rule:
        name:
            f"html_{name}"
        input:
            catalogue.table_inputs(name, "{model}"),
        output:
            report(
                f"results/{{model}}/html/{name}.html",
                caption=f"../report/{name}.rst",
                category=entry.category,
                subcategory=entry.subcategory,
                labels={"model": "{model}", "table": entry.title},
            ),
        log:
            f"results/{{model}}/logs/html/{name}.log",
        benchmark:
            f"results/{{model}}/usage/html/{name}.tsv"
        localrule: True
        conda:
            "../../envs/isogloss.yaml"
        params:
            code=code("html_table"),
            name=name,
            title=model_setting("title"),
            confidence=STUDY.statistics.confidence,
        message:
            f"Typeset {entry.title} of {{wildcards.model}}"
        script:
            "../scripts/html_table.py"


rule planted_truth:
    input:
        catalogue.planted_truth_inputs(config),
    output:
        report(
            "results/comparison/figures/planted_truth.svg",
            caption="../report/planted_truth.rst",
            category=catalogue.PLANTED_TRUTH.category,
            subcategory=catalogue.PLANTED_TRUTH.subcategory,
            labels={"model": "all", "figure": catalogue.PLANTED_TRUTH.title},
        ),
    log:
        "results/comparison/logs/planted_truth.log",
    benchmark:
        "results/comparison/usage/planted_truth.tsv"
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("figure"),
        name="planted_truth",
        settings=catalogue.figure_settings(config),
    message:
        "Draw what was planted beside what was measured"
    script:
        "../scripts/figure.py"


rule overview:
    input:
        tables=catalogue.overview_tables(config),
        figures=catalogue.overview_figures(config),
    output:
        "results/overview.rst",
    log:
        "results/logs/overview.log",
    benchmark:
        "results/usage/overview.tsv"
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("overview"),
        settings=catalogue.overview_settings(config),
    message:
        "Write the overview"
    script:
        "../scripts/overview.py"


REPORTED = [
    *(f"results/{model}/figures/{name}.svg" for model in STUDY.models for name in catalogue.figures_of(config, model)),
    *(f"results/{model}/html/{name}.html" for model in STUDY.models for name in catalogue.tables_of(config, model)),
    *(["results/comparison/figures/planted_truth.svg"] if catalogue.compared_models(config) else []),
]


rule report_html:
    input:
        reported=REPORTED,
        overview=rules.overview.output,
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        study=config,
        captions=text_digest(Path(workflow.basedir, "workflow", "report")),
    message:
        "Assemble report.html"
    script:
        "../scripts/report.py"
