# What comes from elsewhere: models, SAEs, exported activations, translators, questions.
#   in:  repositories of the Hugging Face Hub at a revision, Neuronpedia's bucket, or local folders with the same files
#   out: folders of links to what was fetched, each with fetched.json: id, commit, sizes and checksums
# fetch_exports has no `code`: an edited module must not download gigabytes again.
# Local rules: they run where snakemake runs, since compute nodes often have no network.
from glob import escape

from isogloss.config.measures import OKAPI
from isogloss.config.questions import task_names
from isogloss.sources.saes.choice import sae_id


rule fetch_model:
    input:
        lambda wildcards: local_files(model_of(wildcards).source.folder),
    output:
        directory("results/{model}/lm"),
    log:
        "results/{model}/logs/fetch_model.log",
    wildcard_constraints:
        model=one_of(FETCHED),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(source=model_setting("source"), architecture=model_setting("architecture")),
        code=code("fetch_model"),
    message:
        "Fetch the language model {wildcards.model}"
    script:
        "../scripts/fetch_model.py"


if workflow.is_main_process and PLANNED not in os.environ:
    published = {model: STUDY.models[model] for model in FETCHED if model not in TRAINED_SAES}
    if any(model.saes for model in published.values()):
        from isogloss.sources.saes.locate import require_saes  # half a second to import, and asked once a run

        try:
            require_saes(published)
        except IsoglossError as error:
            raise WorkflowError(str(error))


def wanted_sae(wildcards):
    """The SAE of a layer, by its id."""
    return sae_id(model_of(wildcards).saes, int(wildcards.layer))


def sae_files(wildcards):
    """The files of a layer's SAE, if it is local: those in its folder and below, or the one that it is."""
    source = model_of(wildcards).saes.source
    if source is None or source.folder is None:
        return []
    name = escape(wanted_sae(wildcards))
    return local_files(source.folder, name) or local_files(source.folder, f"{name}/**/*")


rule fetch_sae:
    input:
        sae_files,
    output:
        directory("results/{model}/sae/layer_{layer}"),
    log:
        "results/{model}/logs/fetch_sae/{layer}.log",
    wildcard_constraints:
        model=one_of(model for model in STUDY.models if model not in TRAINED_SAES),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(saes=lambda wildcards: model_of(wildcards).saes.without("ids", "width", "l0")),
        code=code("fetch_sae"),
        sae_id=wanted_sae,
        d_model=model_setting("architecture.d_model"),
        model_id=model_setting("source.id"),
    message:
        "Fetch the SAE of {wildcards.model}, layer {wildcards.layer}"
    script:
        "../scripts/fetch_sae.py"


EXPORTED = [model for model in STUDY.models if not STUDY.searched(model)]


def export_source(wildcards):
    """Neuronpedia's name of a layer's SAE."""
    return model_of(wildcards).neuronpedia.source.format(layer=wildcards.layer)


def export_files(wildcards):
    """The files of a layer's exports, if they are local."""
    neuronpedia = model_of(wildcards).neuronpedia
    inside = f"{neuronpedia.model}/{export_source(wildcards)}/activations"
    return local_files(neuronpedia.folder, f"{inside}/*")


rule fetch_exports:
    input:
        export_files,
    output:
        directory("results/{model}/neuronpedia/layer_{layer}"),
    log:
        "results/{model}/logs/fetch_exports/{layer}.log",
    wildcard_constraints:
        model=one_of(EXPORTED),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(neuronpedia=model_setting("neuronpedia")),
        source=export_source,
        downloads="results/{model}/.downloads/layer_{layer}",
    message:
        "Fetch the exported activations of {wildcards.model}, layer {wildcards.layer}"
    script:
        "../scripts/fetch_exports.py"


def translator(wildcards, direction=None):
    """The OPUS-MT model into a language, or back from it; None without one."""
    into = (direction or wildcards.direction) == "to"
    return (STUDY.translation.models if into else STUDY.translation.back_models).get(wildcards.lang)


rule fetch_translator:
    input:
        lambda wildcards: local_files(translator(wildcards).source.folder),
    output:
        directory("results/translators/{direction}/{lang}"),
    log:
        "results/logs/fetch_translator/{direction}/{lang}.log",
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(source=lambda wildcards: translator(wildcards).source),
        code=code("fetch_translator"),
        target=lambda wildcards: translator(wildcards).target,
        engine=STUDY.translation.engine,
        compute_type=STUDY.translation.compute_type,
        phrases=STUDY.phrases_language,
    message:
        "Fetch the translator {wildcards.direction} {wildcards.lang}"
    script:
        "../scripts/fetch_translator.py"


rule fetch_multilingual:
    input:
        local_files(STUDY.translation.model and STUDY.translation.model.folder),
    output:
        directory("results/translators/model"),
    log:
        "results/logs/fetch_multilingual.log",
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(source=STUDY.translation.model),
        code=code("fetch_multilingual"),
        backend=STUDY.translation.backend,
        engine=STUDY.translation.engine,
        compute_type=STUDY.translation.compute_type,
    message:
        "Fetch the translator of all languages"
    script:
        "../scripts/fetch_multilingual.py"


# A job a language, so that one more of them fetches nothing again and one that the model lacks stops before any work.
rule translation_codes:
    input:
        "results/translators/model",
    output:
        "results/translators/codes/{lang}.json",
    log:
        "results/logs/translation_codes/{lang}.log",
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("translation_codes"),
        backend=STUDY.translation.backend,
        source_lang=STUDY.phrases_language,
        codes=lambda wildcards: {
            lang: own
            for lang, own in STUDY.translation.codes.items()
            if lang in (STUDY.phrases_language, wildcards.lang)
        },
        flores=lambda wildcards: flores_codes([STUDY.phrases_language, wildcards.lang]),
    message:
        "Look up the translator's codes of {wildcards.lang}"
    script:
        "../scripts/translation_codes.py"


def question_source(wildcards):
    """Where the questions of a task are."""
    return STUDY.benchmarks.sources[wildcards.task]


rule fetch_questions:
    input:
        lambda wildcards: local_files(
            question_source(wildcards).folder,
            *(f"data/{lang}/*" for lang in STUDY.benchmark_languages(wildcards.task)),
        ),
    output:
        directory("results/benchmarks/m_{task}"),
    log:
        "results/logs/fetch_questions/{task}.log",
    wildcard_constraints:
        task=one_of(OKAPI),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(source=question_source),
        code=code("fetch_questions"),
        task="{task}",
        languages=lambda wildcards: flores_codes(STUDY.benchmark_languages(wildcards.task)),
    message:
        "Fetch the questions of {wildcards.task}"
    script:
        "../scripts/fetch_questions.py"


def deep_files(source):
    """The files of a local source, in folders too."""
    return local_files(source and source.folder, "**/*")


rule fetch_tasks:
    input:
        lambda wildcards: deep_files(STUDY.benchmarks.tasks[wildcards.task].source),
    output:
        directory("results/benchmarks/lm_eval/{task}"),
    log:
        "results/logs/fetch_tasks/{task}.log",
    wildcard_constraints:
        task=one_of(task for task in STUDY.benchmarks.tasks if task not in OKAPI),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(source=lambda wildcards: STUDY.benchmarks.tasks[wildcards.task].source),
        code=code("fetch_tasks"),
        names=lambda wildcards: task_names(
            STUDY.benchmarks.tasks[wildcards.task].lm_eval, STUDY.benchmark_languages(wildcards.task)
        ),
        id_column=lambda wildcards: STUDY.benchmarks.tasks[wildcards.task].id_column,
    message:
        "Fetch the questions of {wildcards.task} as lm-eval asks them"
    script:
        "../scripts/fetch_tasks.py"
