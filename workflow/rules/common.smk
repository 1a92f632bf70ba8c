# Names, paths and small helpers that all stages use. Imports nothing heavy, since each cluster job parses this.
import shutil
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir, "workflow", "scripts")))

from snakemake.exceptions import WorkflowError

from isogloss.config import load_study
from isogloss.errors import IsoglossError
from isogloss.figures import catalogue
from isogloss.provenance import code_digest, text_digest

try:
    STUDY = load_study(config)
except IsoglossError as error:
    raise WorkflowError(str(error))

# From here on `config` holds every default too: captions and metadata read it.
config.clear()
config.update(STUDY.model_dump(mode="json"))

# What every stage runs under, seeds and threads, is part of its code.
code = partial(code_digest, "isogloss.determinism")

LANGUAGES = STUDY.languages.all
REFERENCE = STUDY.languages.reference
RUNS = STUDY.alignment.runs
WORLD = "results/world"
OVERVIEW = str(Path("results", "overview.rst").absolute())

# A GPU takes one job at a time unless `--resources gpu=N` says otherwise; without a GPU nothing is limited.
# The limit is local: on a cluster each job asks for its own GPU (slurm/profile.yaml).
if shutil.which("nvidia-smi"):
    workflow.global_resources.setdefault("gpu", 1)


resource_scopes:
    gpu="local",


wildcard_constraints:
    model="|".join(STUDY.models),
    adapter="|".join(["base", *RUNS]),
    run="|".join(RUNS) or "none",
    lang="|".join(LANGUAGES),
    block=r"\d+-\d+",
    tasks=r"[a-z+]+",
    name=r"[a-z_]+",


def has(model, analysis):
    """Whether the study runs this part of paper A on the model."""
    return analysis in STUDY.models[model].analyses


def runs_of(model):
    """The alignment runs of a model."""
    return list(RUNS) if has(model, "alignment") else []


def chunks(items, size):
    """Consecutive chunks of `size` items; "all" is one chunk."""
    step = len(items) if size == "all" else size
    return [items[start : start + step] for start in range(0, len(items), step)]


def blocks(layers):
    """The layer blocks that encode jobs take, as `first-last`."""
    return [
        f"{block[0]}-{block[-1]}"
        for block in chunks(layers, STUDY.compute.layers_per_job)
    ]


def block_layers(wildcards):
    """The analysed layers of a block."""
    first, last = map(int, wildcards.block.split("-"))
    return [
        layer
        for layer in STUDY.models[wildcards.model].layer_list
        if first <= layer <= last
    ]


def task_blocks(model):
    """The groups of tasks that a model's benchmark jobs take, as `a+b+c`."""
    tasks = [
        task
        for task in STUDY.benchmarks.tasks
        if task in (STUDY.models[model].tasks or STUDY.benchmarks.tasks)
    ]
    return ["+".join(block) for block in chunks(tasks, STUDY.compute.tasks_per_job)]


def adapter_folder(wildcards):
    """The adapter's folder as an input, nothing for the base model."""
    if wildcards.adapter == "base":
        return []
    return f"results/{wildcards.model}/adapters/{wildcards.adapter}"


def layers_of(wildcards):
    """The analysed layers of the wildcards' model."""
    return STUDY.models[wildcards.model].layer_list


def setting(wildcards, path):
    """A part of the wildcards' model's configuration as plain values, by dotted path."""
    value = config["models"][wildcards.model]
    for key in path.split("."):
        value = value[key]
    return value


def model_setting(path):
    """An input function for `params`: `setting` with the path fixed."""
    return lambda wildcards: setting(wildcards, path)


def training_settings(wildcards):
    """How the wildcards' model is trained, without what changes no number."""
    return {
        key: value
        for key, value in setting(wildcards, "training").items()
        if key != "resume_every"
    }


def activation_tables(model, adapter, languages):
    """The encode jobs' tables of a model, block by block and language by language."""
    return [
        f"results/{model}/activations/{adapter}/{block}/{lang}.parquet"
        for block in blocks(STUDY.models[model].layer_list)
        for lang in languages
    ]


def base_activations(wildcards):
    """The base model's activations in every language."""
    return activation_tables(wildcards.model, "base", LANGUAGES)


def base_activation_languages(wildcards):
    """The language of each of `base_activations`."""
    return [Path(path).stem for path in base_activations(wildcards)]


def run_languages(run):
    """The languages that a run is measured in: the reference and those that it aligns."""
    return [
        lang for lang in LANGUAGES if lang == REFERENCE or lang in RUNS[run].languages
    ]


def run_translations(wildcards):
    """The translations that a run trains on; the reference's text is in the phrases."""
    return [
        f"results/{wildcards.model}/translations/{lang}.parquet"
        for lang in RUNS[wildcards.run].languages
    ]


def target_block(wildcards):
    """The layer block that holds a run's target layer."""
    target = RUNS[wildcards.run].target_layer
    limits = [
        (block, *map(int, block.split("-"))) for block in blocks(layers_of(wildcards))
    ]
    return next(block for block, first, last in limits if first <= target <= last)


def run_recorded(wildcards):
    """The reference's recorded activations, where a run takes them from the phrase alone."""
    if STUDY.alignment.recorded == "corpus":
        return []
    return f"results/{wildcards.model}/activations/base/{target_block(wildcards)}/{REFERENCE}.parquet"


def alignment_settings():
    """What all runs share, without what changes no number."""
    return {
        key: value
        for key, value in config["alignment"].items()
        if key not in ("runs", "resume_every")
    }


def gain_base(model):
    """The base model's tables in the languages that any run is measured in, each with its language."""
    measured = [
        lang
        for lang in LANGUAGES
        if any(lang in run_languages(run) for run in runs_of(model))
    ]
    return [
        (path, lang)
        for lang in measured
        for path in activation_tables(model, "base", [lang])
    ]


def gain_adapted(model):
    """The adapters' tables, each with its run and language."""
    return [
        (path, run, lang)
        for run in runs_of(model)
        for lang in run_languages(run)
        for path in activation_tables(model, run, [lang])
    ]


def task_settings(wildcards, key):
    """One setting of each of a block's tasks."""
    return {
        task: config["benchmarks"]["tasks"][task][key]
        for task in wildcards.tasks.split("+")
    }


def benchmark_languages(model, adapter):
    """The languages in which an adapter is benchmarked."""
    if adapter == "base" or RUNS[adapter].benchmark is None:
        return LANGUAGES
    return RUNS[adapter].benchmark


def world_benchmarks(languages, tasks):
    """The world's benchmark files in the layout of the upstream data sets."""
    return [
        f"{WORLD}/benchmarks/m_{task}/data/{lang}/{split}.jsonl"
        for task in tasks
        for lang in languages
        for split in ("train", "val", "test")
    ]


def benchmark_measurements(model):
    """Each adapter, task block and language that is benchmarked."""
    return [
        (adapter, tasks, lang)
        for adapter in ("base", *runs_of(model))
        for tasks in task_blocks(model)
        for lang in benchmark_languages(model, adapter)
    ]


def benchmark_tables(wildcards):
    """The tables of `benchmark_measurements`."""
    return [
        f"results/{wildcards.model}/benchmarks/{adapter}/{tasks}/{lang}.parquet"
        for adapter, tasks, lang in benchmark_measurements(wildcards.model)
    ]


def benchmark_adapters(wildcards):
    """The adapter of each of `benchmark_tables`."""
    return [adapter for adapter, _, _ in benchmark_measurements(wildcards.model)]


def benchmark_table_languages(wildcards):
    """The language of each of `benchmark_tables`."""
    return [lang for _, _, lang in benchmark_measurements(wildcards.model)]


def figure_inputs(name):
    """An input function: the Parquet tables that a figure is drawn from."""
    return lambda wildcards: catalogue.figure_inputs(config, name, wildcards.model)
