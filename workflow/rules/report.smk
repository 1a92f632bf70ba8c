# Figures, tables, the summary page and report.html.
#   in:  final tables
#   out: an SVG and a PNG a figure, an HTML page a table, results/summary.html, the landing text, results/report.html
# Local rules: seconds each, less than a cluster takes to start a job.
from jinja2.defaults import DEFAULT_FILTERS

from isogloss.report import wanted
from isogloss.report.catalogue import BETWEEN_FIGURES, BETWEEN_TABLES, FIGURES, TABLES
from isogloss.report.shared.literal import literal

# Snakemake's report renders captions with jinja2's own filters, so theirs is one of these.
DEFAULT_FILTERS["literal"] = literal

TABLE_ASSETS = [text_digest(CAPTIONS / name) for name in ("table.css", "table.js")]


def figure_inputs(name):
    """An input function: the Parquet tables that a figure is drawn from."""
    return lambda wildcards: wanted.figure_inputs(config, name, wildcards.model)


def labels(what, title):
    """A function of the wildcards: an entry's labels, the models in the study's order, which a menu sorts by letter."""
    numbered = {model: f"{number} {model}" for number, model in enumerate(STUDY.models, 1)}
    return lambda wildcards: {
        "model": numbered[wildcards.model] if len(numbered) > 1 else wildcards.model,
        what: title,
    }


def drawn(entry):
    """What a figure's script looks up by name: what draws it, and what says in a sentence what it shows."""
    return [entry.drawing, *([entry.takeaway] if entry.takeaway else [])]


for name, entry in FIGURES.items():

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
                subcategory="Figures",
                labels=labels("figure", entry.title),
            ),
            picture=f"results/{{model}}/figures/{name}.png",
        log:
            f"results/{{model}}/logs/figures/{name}.log",
        benchmark:
            f"results/{{model}}/usage/figures/{name}.tsv"
        localrule: True
        conda:
            "../../envs/isogloss.yaml"
        params:
            code=code("figure", *drawn(entry)),
            entries=drawn(entry),
            title=entry.title,
            takeaway=entry.takeaway,
            settings=wanted.figure_settings(config),
        message:
            f"Draw {entry.title} of {{wildcards.model}}"
        script:
            "../scripts/figure.py"


for name, entry in TABLES.items():

    rule:
        name:
            f"html_{name}"
        input:
            wanted.table_inputs(name, "{model}"),
        output:
            report(
                f"results/{{model}}/html/{name}.html",
                caption=f"../report/{name}.rst",
                category=entry.category,
                subcategory="Tables",
                labels=labels("table", entry.title),
            ),
        log:
            f"results/{{model}}/logs/html/{name}.log",
        benchmark:
            f"results/{{model}}/usage/html/{name}.tsv"
        localrule: True
        conda:
            "../../envs/isogloss.yaml"
        params:
            code=code("html_table", entry.drawing),
            entries=[entry.drawing],
            assets=TABLE_ASSETS,
            heading=entry.title,
            title=model_setting("title"),
            toy=lambda wildcards: wildcards.model in TOYS,
            confidence=STUDY.statistics.confidence,
        message:
            f"Typeset {entry.title} of {{wildcards.model}}"
        script:
            "../scripts/html_table.py"


for name, entry in BETWEEN_FIGURES.items():

    rule:
        name:
            f"figure_{name}"
        input:
            wanted.between_figure_inputs(name),
        output:
            report(
                f"results/comparison/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category=entry.category,
                subcategory="Figures",
                labels={"model": "all", "figure": entry.title},
            ),
            picture=f"results/comparison/figures/{name}.png",
        log:
            f"results/comparison/logs/figures/{name}.log",
        benchmark:
            f"results/comparison/usage/figures/{name}.tsv"
        localrule: True
        conda:
            "../../envs/isogloss.yaml"
        params:
            code=code("figure", *drawn(entry)),
            entries=drawn(entry),
            title=entry.title,
            takeaway=entry.takeaway,
            settings=wanted.figure_settings(config),
        message:
            f"Draw {entry.title}"
        script:
            "../scripts/figure.py"


for name, entry in BETWEEN_TABLES.items():

    rule:
        name:
            f"html_{name}"
        input:
            wanted.between_table_inputs(name),
        output:
            report(
                f"results/comparison/html/{name}.html",
                caption=f"../report/{name}.rst",
                category=entry.category,
                subcategory="Tables",
                labels={"model": "all", "table": entry.title},
            ),
        log:
            f"results/comparison/logs/html/{name}.log",
        benchmark:
            f"results/comparison/usage/html/{name}.tsv"
        localrule: True
        conda:
            "../../envs/isogloss.yaml"
        params:
            code=code("html_table", entry.drawing),
            entries=[entry.drawing],
            assets=TABLE_ASSETS,
            heading=entry.title,
            title="All models compared",
            toy=len(TOYS) == len(STUDY.models),
            confidence=STUDY.statistics.confidence,
        message:
            f"Typeset {entry.title}"
        script:
            "../scripts/html_table.py"


rule summary:
    input:
        tables=wanted.summary_tables(config),
        figures=wanted.summary_figures(config),
    output:
        page=report(
            "results/summary.html",
            caption="../report/summary.rst",
            category="0 Summary",
            labels={"page": "Summary: the whole report on one page"},
        ),
        landing="results/overview.rst",
    log:
        "results/logs/summary.log",
    benchmark:
        "results/usage/summary.tsv"
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("summary", *wanted.summary_entries()),
        entries=wanted.summary_entries(),
        settings=config,
        assets=text_digest(CAPTIONS),
    message:
        "Write the summary page"
    script:
        "../scripts/summary.py"


REPORTED = [
    "results/summary.html",
    *(f"results/{model}/figures/{name}.svg" for model in STUDY.models for name in wanted.figures_of(config, model)),
    *(f"results/{model}/html/{name}.html" for model in STUDY.models for name in wanted.tables_of(config, model)),
    *wanted.between(config),
]


def final_tables():
    """The tables that the page is made from, each with those that its job writes beside it."""
    shown = wanted.summary_tables(config)
    written = [[path for path in rule.output if "/tables/" in str(path)] for rule in workflow.rules]
    beside = [
        str(other.apply_wildcards(match.groupdict()))
        for path in shown
        for own in written
        for match in filter(None, (one.match(path) for one in own))
        for other in own
    ]
    return list(dict.fromkeys([*shown, *beside]))


# Each final table and figure by itself: one that was deleted is made again, though what was made of it stands.
FINAL = [
    *REPORTED,
    *(figure.removesuffix("svg") + "png" for figure in wanted.summary_figures(config)),
    *final_tables(),
]


rule report_html:
    input:
        reported=REPORTED,
        overview="results/overview.rst",
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("report"),
        study=STUDY.model_dump(mode="json"),
        captions=text_digest(CAPTIONS),
    message:
        "Assemble report.html"
    script:
        "../scripts/report.py"
