# Names, paths and small helpers that all stages use. Imports nothing heavy, since each cluster job parses this.
import importlib.util
import os
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The package is the copy beside these rules, or the installed one where Snakemake reads the rules from a repository.
LOCAL = isinstance(workflow.current_basedir, os.PathLike)
spec = importlib.util.find_spec("isogloss")
# A mere folder of that name has no origin, such as a clone beside the calling Snakefile.
installed = spec and spec.origin
if LOCAL:
    scripts = Path(workflow.current_basedir).parent / "scripts"
    if installed and not scripts.samefile(Path(installed).parents[1]):
        # Python would find it before the folder of a job's script, which Snakemake puts last.
        paths = [str(scripts), os.environ.get("PYTHONPATH")]
        os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, paths)))
    sys.path.insert(0, str(scripts))
    import isogloss

    sys.path.remove(str(scripts))
    if not scripts.samefile(Path(isogloss.__file__).parents[1]):
        raise WorkflowError(
            f"isogloss: these rules are in {scripts.parent}, but {isogloss.__file__} is imported already: import it after"
            " `use rule`, or read the rules of one copy only"
        )
elif not installed:
    raise WorkflowError(
        f"isogloss: the rules come from {workflow.current_basedir}, so the package must be installed: pip install it at"
        " the same version"
    )

from isogloss.config import load_study
from isogloss.errors import IsoglossError
from isogloss.provenance import code_digest, text_digest
from isogloss.resources import CAPTIONS
from isogloss.running import record

try:
    STUDY = load_study(config)
except IsoglossError as error:
    raise WorkflowError(str(error))

# From here on `config` holds every default too: captions and metadata read it. The caller's own stays as it is.
config = STUDY.model_dump(mode="json")
config["bilingual"]["languages"] = STUDY.bilingual_languages


# The digest of a stage's code: the process that plans the run keeps it, so that its jobs notice an edit.
code = record if workflow.is_main_process else code_digest

LANGUAGES = STUDY.languages.all
REFERENCE = STUDY.languages.reference
RUNS = STUDY.alignment.runs
TOYS = STUDY.of_kind("toy")
PRETRAINED = STUDY.of_kind("pretrained")
LATENT_LANGUAGES = [
    lang for task in STUDY.latent.tasks for lang in STUDY.latent_languages(task)
]
WORLD = "results/world"
OVERVIEW = str(Path("results", "overview.rst").absolute())

# A GPU takes one job at a time unless `--resources gpu=N` says otherwise; without a GPU nothing is limited.
# The limit is local: on a cluster each job asks for its own GPU (slurm/profile.yaml).
if shutil.which("nvidia-smi") and "gpu" not in workflow.resource_settings.resources:
    workflow.register_resource("gpu", 1)


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
    langs=r"[A-Za-z-]+(\.\.[A-Za-z-]+)?",
    task=one_of(["arc", "mmlu", "hellaswag", "belebele", "mmmlu"]),
    layer=r"\d+",
    block=r"\d+-\d+",
    direction="to|from",
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
    step = len(items) or 1 if size == "all" else size
    return [items[start : start + step] for start in range(0, len(items), step)]


def blocks(layers, size):
    """The layer blocks of `size` layers that a job takes, as `first-last`."""
    return [f"{block[0]}-{block[-1]}" for block in chunks(layers, size)]


def language_blocks(languages):
    """The languages that a job takes together, by name: the language, or `first..last` of several."""
    parts = chunks(languages, STUDY.compute.languages_per_job)
    return {
        part[0] if len(part) == 1 else f"{part[0]}..{part[-1]}": part for part in parts
    }


def language_files(folder, languages, suffix="parquet"):
    """The files, one a language, that jobs over blocks of `languages` leave in `folder`."""
    return [
        f"{folder}/{langs}/{lang}.{suffix}"
        for langs, part in language_blocks(languages).items()
        for lang in part
    ]


def in_folders(files):
    """An input function: the folders that hold what `files` gives, which are the outputs of the jobs that make them."""
    return lambda wildcards: list(
        dict.fromkeys(str(Path(file).parent) for file in files(wildcards))
    )


def block_layers(wildcards):
    """The analysed layers of a block."""
    first, last = map(int, wildcards.block.split("-"))
    return [
        layer
        for layer in STUDY.models[wildcards.model].layer_list
        if first <= layer <= last
    ]


def model_blocks(model):
    """The layer blocks of a model."""
    return blocks(STUDY.models[model].layer_list, STUDY.compute.layers_per_job)


def local_files(folder, inside=""):
    """The files of a local source: a change there runs its fetch again. Nothing for what comes from the network."""
    if not folder:
        return []
    return sorted(
        str(path) for path in Path(folder, inside).glob("*") if path.is_file()
    )


def task_blocks(model):
    """The groups of tasks that a model's benchmark jobs take, as `a+b+c`."""
    tasks = [
        task
        for task in STUDY.benchmarks.tasks
        if task in (STUDY.models[model].tasks or STUDY.benchmarks.tasks)
    ]
    return ["+".join(block) for block in chunks(tasks, STUDY.compute.tasks_per_job)]


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


def run_languages(run):
    """The languages that a run is measured in: the reference and those that it aligns."""
    return [
        lang for lang in LANGUAGES if lang == REFERENCE or lang in RUNS[run].languages
    ]


def adapter_languages(adapter):
    """The languages that a model is measured in, with an adapter or without."""
    return LANGUAGES if adapter == "base" else run_languages(adapter)


def phrase_settings(*more):
    """What the phrases of every model follow, and the keys that one kind of model reads alone."""
    keys = ("threshold", "window", "feature_stride", "per_feature", *more)
    return {key: config["phrases"][key] for key in keys}


def sae_id(wildcards):
    """The SAE of a layer, by its id."""
    return STUDY.models[wildcards.model].saes.ids[int(wildcards.layer)]


def export_source(wildcards):
    """Neuronpedia's name of a layer's SAE."""
    return STUDY.models[wildcards.model].neuronpedia.source.format(
        layer=wildcards.layer
    )


def translator(lang, direction):
    """The OPUS-MT model into a language, or back from it; None without one."""
    models = "models" if direction == "to" else "back_models"
    return config["translation"][models].get(lang)


def translator_target(lang, direction):
    """The language code that a translator's input begins with, if it needs one."""
    return (translator(lang, direction) or {}).get("target")


def translation_settings():
    """What all translations share."""
    keys = ("backend", "engine", "compute_type", "beam_size", "minimum_chrf")
    return {key: config["translation"][key] for key in keys}


def alignment_settings():
    """What all runs share, without what changes no number."""
    return {
        key: value
        for key, value in config["alignment"].items()
        if key not in ("runs", "resume_every")
    }


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


def question_languages(wildcards):
    """The languages whose common questions are asked."""
    return STUDY.world.languages if wildcards.model in TOYS else LANGUAGES


def middle(items):
    """The middle item, the later one of two."""
    return items[len(items) // 2]


def checkpoints(model):
    """The checkpoints of a model, in order; the last is the finished model."""
    return STUDY.models[model].checkpoint_list


def checkpoint_source(wildcards):
    """Where a pretrained model's checkpoint is."""
    return setting(wildcards, "checkpoints")[wildcards.checkpoint.removeprefix("step")]


def document_source(wildcards):
    """Where documents of a language are."""
    return config["bilingual"]["documents"][wildcards.lang]


def documents_needed():
    """How many documents of each language are kept: enough for every model, a third of them too short."""
    tokens = max(
        (model.sae.tokens for model in STUDY.models.values() if model.sae), default=0
    )
    a_document = STUDY.bilingual.tokens_per_document - 1
    a_language = (tokens + STUDY.bilingual.evaluation_tokens) / len(
        STUDY.bilingual_languages
    )
    return int(1.5 * a_language / a_document) + 100


def feature_settings():
    """How features are described."""
    keys = (
        "threshold",
        "pattern_threshold",
        "similarity",
        "clustering",
        "single_token",
        "examples_per_class",
    )
    return {key: config["bilingual"][key] for key in keys}


def intervention_settings():
    """What is injected and how; where is a model's affair."""
    settings = {**(config["bilingual"]["intervention"] or {})}
    if told := settings.get("translations"):
        settings["translations"] = {key: told[key] for key in told if key != "comet"}
    return {
        key: value for key, value in settings.items() if key not in ("step", "layer")
    }


def comet_model():
    """The folder of the COMET model that scores translations; None if none does."""
    told = (config["bilingual"]["intervention"] or {}).get("translations")
    return told["comet"] if told else None


def intervention_outputs():
    """What an injection writes: final tables, or tables and translations that COMET completes."""
    names = ["intervention", "intervention_summary"]
    if not comet_model():
        return {name: f"results/{{model}}/tables/{name}.parquet" for name in names}
    names.append("hypotheses")
    return {name: f"results/{{model}}/bilingual/{name}.parquet" for name in names}


def embeddings_model(model):
    """The model whose input embeddings cluster tokens."""
    return STUDY.bilingual.embeddings or model


def steering_settings():
    """What steers and how far, without where; nothing if nothing steers."""
    settings = config["latent"]["steering"] or {}
    keys = ("gammas", "random", "generation")
    return {key: settings[key] for key in keys if key in settings}


def steer_outputs():
    """What a sweep writes; answers only if some are generated."""
    kinds = ["steered", "vectors"]
    if (config["latent"]["steering"] or {}).get("generation"):
        kinds.append("generated")
    return {
        kind: directory(f"results/{{model}}/latent/{kind}/{{task}}/{{langs}}")
        for kind in kinds
    }


def lens_settings():
    """How prompts are put and hidden states are read."""
    keys = ("instruction", "final_norm", "softcap")
    return {key: config["latent"][key] for key in keys}


def latent_names(reference=True):
    """The data set and the language of each of `latent_measurements`."""
    told = latent_measurements(reference)
    return {"tasks": [task for task, _ in told], "langs": [lang for _, lang in told]}


def latent_prompts():
    """How the questions of each data set are put."""
    return {task: told.prompt for task, told in STUDY.latent.tasks.items()}
