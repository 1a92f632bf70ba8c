# Names, paths and small helpers that every rule file uses. Imports nothing heavy: each cluster job parses this.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir, "workflow", "scripts")))

from snakemake.exceptions import WorkflowError

from isogloss.config import load_study
from isogloss.errors import IsoglossError
from isogloss.figures import catalogue
from isogloss.provenance import code_digest as code

try:
    STUDY = load_study(config)
except IsoglossError as error:
    raise WorkflowError(str(error))

# From here on `config` holds every default too: captions and metadata read it.
config.clear()
config.update(STUDY.model_dump(mode="json"))

LANGUAGES = STUDY.languages.all
REFERENCE = STUDY.languages.reference
RUNS = STUDY.alignment.runs
WORLD = "results/world"
OVERVIEW = str(Path("results", "overview.rst").absolute())

# A GPU takes one job at a time unless `--resources gpu=N` says otherwise; without a GPU nothing is limited.
# The limit is local: on a cluster each job asks for its own GPU (slurm/profile.yaml).
if any(Path("/dev").glob("nvidia[0-9]*")):
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
    return [f"{block[0]}-{block[-1]}" for block in chunks(layers, STUDY.compute.layers_per_job)]


def block_layers(wildcards):
    """The analysed layers of a block."""
    first, last = map(int, wildcards.block.split("-"))
    return [layer for layer in STUDY.models[wildcards.model].layer_list if first <= layer <= last]


def task_blocks():
    """The groups of tasks that benchmark jobs take, as `a+b+c`."""
    return ["+".join(tasks) for tasks in chunks(list(STUDY.benchmarks.tasks), STUDY.compute.tasks_per_job)]


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


def activation_tables(model, adapter, layers, languages=LANGUAGES):
    """The encode jobs' tables of some layers, block by block and language by language."""
    return [
        f"results/{model}/activations/{adapter}/{block}/{lang}.parquet"
        for block in blocks(STUDY.models[model].layer_list)
        if any(int(block.split("-")[0]) <= layer <= int(block.split("-")[1]) for layer in layers)
        for lang in languages
    ]


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
