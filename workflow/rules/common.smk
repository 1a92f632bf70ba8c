# Names, paths and small helpers that all stages use. Imports nothing heavy, since each cluster job parses this.
import shutil
from operator import attrgetter
from pathlib import Path

from isogloss.provenance import text_digest
from isogloss.resources import CAPTIONS

LANGUAGES = STUDY.languages.all
REFERENCE = STUDY.languages.reference
RUNS = STUDY.alignment.runs
TOYS, FETCHED = STUDY.of_kind("toy"), STUDY.of_kind("pretrained")
LATENT_LANGUAGES = [lang for task in STUDY.latent.tasks for lang in STUDY.latent_languages(task)]
WORLD = "results/world"
OVERVIEW = str(Path("results", "overview.rst").absolute())

# The GPUs of a job take one job at a time unless `--resources gpu=N` says otherwise; without a GPU nothing is limited.
# The limit is local: on a cluster each job asks for its own GPU (slurm/profile.yaml).
if shutil.which("nvidia-smi") and "gpu" not in workflow.resource_settings.resources:
    workflow.register_resource("gpu", STUDY.compute.gpus_per_job)


resource_scopes:
    gpu="local",


def one_of(names):
    """A wildcard's constraint: one of the names; nothing if there are none."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    model=one_of(STUDY.models),
    adapter=one_of(["base", *RUNS]),
    run=one_of(RUNS),
    checkpoint=r"step\d+|final",
    lang=one_of({*LANGUAGES, *LATENT_LANGUAGES}),
    langs=r"[A-Za-z0-9-]+(\.\.[A-Za-z0-9-]+)?",
    task=one_of({**STUDY.benchmarks.tasks, **STUDY.latent.tasks}),
    layer=r"\d+",
    block=r"\d+-\d+",
    direction="to|from",
    tasks=r"[a-z0-9_+-]+",
    name=r"[a-z_]+",


def chunks(items, size):
    """Consecutive chunks of `size` items; "all" is one chunk."""
    step = len(items) or 1 if size == "all" else size
    return [items[start : start + step] for start in range(0, len(items), step)]


def blocks(layers, size):
    """The layer blocks of `size` layers that a job takes, as `first-last`."""
    return [f"{block[0]}-{block[-1]}" for block in chunks(layers, size)]


def language_blocks(languages):
    """The languages that a job takes together, by name: the language, or `first..last` of several."""
    parts = chunks(languages, STUDY.compute.languages_per_job)
    return {part[0] if len(part) == 1 else f"{part[0]}..{part[-1]}": part for part in parts}


def language_files(folder, languages, suffix="parquet"):
    """The files, one a language, that jobs over blocks of `languages` leave in `folder`."""
    return [f"{folder}/{langs}/{lang}.{suffix}" for langs, part in language_blocks(languages).items() for lang in part]


def in_folders(files):
    """An input function: the folders that hold what `files` gives, which are the outputs of the jobs that make them."""
    return lambda wildcards: list(dict.fromkeys(str(Path(file).parent) for file in files(wildcards)))


def block_layers(wildcards):
    """The analysed layers of a block."""
    first, last = map(int, wildcards.block.split("-"))
    return [layer for layer in layers_of(wildcards) if first <= layer <= last]


def model_blocks(model):
    """The layer blocks of a model."""
    return blocks(STUDY.models[model].layer_list, STUDY.compute.layers_per_job)


def model_of(wildcards):
    """The configuration of the wildcards' model."""
    return STUDY.models[wildcards.model]


def layers_of(wildcards):
    """The analysed layers of the wildcards' model."""
    return model_of(wildcards).layer_list


def model_setting(path):
    """An input function for `params`: a part of the configuration of the wildcards' model, by dotted path."""
    return lambda wildcards: attrgetter(path)(model_of(wildcards))


def adapter_folder(wildcards):
    """The adapter's folder as an input, nothing for the base model."""
    return [] if wildcards.adapter == "base" else f"results/{wildcards.model}/adapters/{wildcards.adapter}"


def sections(**parts):
    """Params that hand sections of the config on, whole and typed, or functions of the wildcards that give them.

    Snakemake compares plain values only: the NAME_numbers beside each, the fields that change numbers.
    """

    def numbers(part):
        if callable(part):
            return lambda wildcards: numbers(part(wildcards))
        return part and part.numbers()

    return parts | {f"{name}_numbers": numbers(part) for name, part in parts.items()}
