# Input functions, by stage: which files a job reads.


def sae_folders(model, layers):
    """The SAEs of some layers as inputs: a folder each where they are fetched, one for all where they train together."""
    if model in TOYS:
        return [f"results/{model}/sae"]
    return [f"results/{model}/sae/layer_{layer}" for layer in layers]


def block_saes(wildcards):
    """The SAEs of a block."""
    return sae_folders(wildcards.model, block_layers(wildcards))


def phrase_tables(model, layers):
    """The tables that hold the phrases of some layers."""
    if model in TOYS:
        return [f"results/{model}/phrases/all.parquet"]
    return [f"results/{model}/phrases/layer_{layer}.parquet" for layer in layers]


def block_phrases(wildcards):
    """The phrases of a block's layers."""
    return phrase_tables(wildcards.model, block_layers(wildcards))


def model_phrases(wildcards):
    """The phrases of all layers."""
    return phrase_tables(wildcards.model, layers_of(wildcards))


def reproduced(model, block_list):
    """What must have been found again before a model is measured: recorded activations, where there are any."""
    if model in TOYS:
        return []
    return [f"results/{model}/reproduced/{block}.parquet" for block in block_list]


def block_reproduced(wildcards):
    """The recorded activations of a block."""
    return reproduced(wildcards.model, [wildcards.block])


def model_reproduced(wildcards):
    """The recorded activations of all layers."""
    return reproduced(wildcards.model, model_blocks(wildcards.model))


def translation_table(model, block, lang):
    """The phrases of a block in a language."""
    return f"results/{model}/translations/{block}/{lang}.parquet"


def encoded_languages(wildcards):
    """The languages that an encode job takes."""
    return language_blocks(adapter_languages(wildcards.adapter))[wildcards.langs]


def block_translations(wildcards):
    """The phrases that an encode job reads, a table a language."""
    return [
        translation_table(wildcards.model, wildcards.block, lang)
        for lang in encoded_languages(wildcards)
    ]


def captured_languages(wildcards):
    """The languages that a capture job takes."""
    return language_blocks(LANGUAGES)[wildcards.langs]


def captured_translations(wildcards):
    """The phrases that a capture job reads: of each of its languages, a table a block of layers."""
    return {
        lang: [
            translation_table(wildcards.model, block, lang)
            for block in model_blocks(wildcards.model)
        ]
        for lang in captured_languages(wildcards)
    }


def residual_tables(wildcards):
    """The base model's residuals in every language."""
    return language_files(f"results/{wildcards.model}/residuals/base", LANGUAGES)


def adapter_folder(wildcards):
    """The adapter's folder as an input, nothing for the base model."""
    if wildcards.adapter == "base":
        return []
    return f"results/{wildcards.model}/adapters/{wildcards.adapter}"


def activation_tables(model, adapter, languages, block_list=None):
    """The encode jobs' tables in some languages, each with its language, block after block (default: all blocks)."""
    return {
        path: Path(path).stem
        for block in block_list or model_blocks(model)
        for path in language_files(
            f"results/{model}/activations/{adapter}/{block}", adapter_languages(adapter)
        )
        if Path(path).stem in languages
    }


def base_activations(wildcards):
    """The base model's activations in every language."""
    return list(activation_tables(wildcards.model, "base", LANGUAGES))


def base_activation_languages(wildcards):
    """The language of each of `base_activations`."""
    return list(activation_tables(wildcards.model, "base", LANGUAGES).values())


def run_translations(wildcards):
    """The translations that a run trains on; the reference's text is in the phrases."""
    return [
        f"results/{wildcards.model}/translations/{target_block(wildcards)}/{lang}.parquet"
        for lang in RUNS[wildcards.run].languages
    ]


def target_sae(wildcards):
    """The SAE that a run reads."""
    return sae_folders(wildcards.model, [RUNS[wildcards.run].target_layer])


def target_phrases(wildcards):
    """The phrases that a run trains on."""
    return phrase_tables(wildcards.model, [RUNS[wildcards.run].target_layer])


def target_block(wildcards):
    """The layer block that holds a run's target layer."""
    target = RUNS[wildcards.run].target_layer
    limits = [
        (block, *map(int, block.split("-"))) for block in model_blocks(wildcards.model)
    ]
    return next(block for block, first, last in limits if first <= target <= last)


def run_recorded(wildcards):
    """The reference's recorded activations, where a run takes them from the phrase alone."""
    if STUDY.alignment.recorded == "corpus":
        return []
    block = target_block(wildcards)
    return list(activation_tables(wildcards.model, "base", [REFERENCE], [block]))


def translator_folder(wildcards, direction):
    """The translator as an input; nothing for the reference, a translation memory, or a direction without a model."""
    backend = STUDY.translation.backend
    if (
        wildcards.lang == REFERENCE
        or backend != "opus-mt"
        or not translator(wildcards.lang, direction)
    ):
        return []
    return f"results/translators/{direction}/{wildcards.lang}"


def world_segments(wildcards):
    """The world's parallel segments, where they are the translation memory."""
    if STUDY.translation.backend != "parallel":
        return []
    return f"{WORLD}/segments/{wildcards.lang}.parquet"


def every_translation(wildcards):
    """The phrases of all layers in all languages."""
    return [
        f"results/{wildcards.model}/translations/{block}/{lang}.parquet"
        for lang in LANGUAGES
        for block in model_blocks(wildcards.model)
    ]


def gain_base(model):
    """The base model's tables in the languages that any run is measured in, each with its language."""
    measured = [
        lang
        for lang in LANGUAGES
        if any(lang in run_languages(run) for run in runs_of(model))
    ]
    return activation_tables(model, "base", measured)


def gain_adapted(model):
    """The adapters' tables, each with its run and language."""
    return {
        path: (run, lang)
        for run in runs_of(model)
        for path, lang in activation_tables(model, run, run_languages(run)).items()
    }


def question_folders(wildcards):
    """The folder of each of a block's tasks, in the layout of the upstream data sets."""
    parent = f"{WORLD}/benchmarks" if wildcards.model in TOYS else "results/benchmarks"
    return {task: f"{parent}/m_{task}" for task in wildcards.tasks.split("+")}


def question_files(wildcards):
    """The questions of a block's tasks as inputs."""
    if wildcards.model in TOYS:
        return world_benchmarks(STUDY.world.languages, wildcards.tasks.split("+"))
    return list(question_folders(wildcards).values())


def world_facts(wildcards):
    """What the world's questions are about; nothing for other questions."""
    return f"{WORLD}/facts.parquet" if wildcards.model in TOYS else []


def world_benchmarks(languages, tasks):
    """The world's benchmark files in the layout of the upstream data sets."""
    return [
        f"{WORLD}/benchmarks/m_{task}/data/{lang}/{split}.jsonl"
        for task in tasks
        for lang in languages
        for split in ("train", "val", "test")
    ]


def benchmarked_languages(wildcards):
    """The languages that a benchmark job takes."""
    languages = benchmark_languages(wildcards.model, wildcards.adapter)
    return language_blocks(languages)[wildcards.langs]


def benchmark_tables(model):
    """The benchmark jobs' tables of a model, each with its adapter and language."""
    return {
        path: (adapter, Path(path).stem)
        for adapter in ("base", *runs_of(model))
        for tasks in task_blocks(model)
        for path in language_files(
            f"results/{model}/benchmarks/{adapter}/{tasks}",
            benchmark_languages(model, adapter),
        )
    }


def benchmark_adapters(wildcards):
    """The adapter of each of `benchmark_tables`."""
    return [adapter for adapter, _ in benchmark_tables(wildcards.model).values()]


def benchmark_table_languages(wildcards):
    """The language of each of `benchmark_tables`."""
    return [lang for _, lang in benchmark_tables(wildcards.model).values()]


def checkpoint_inputs(model, checkpoint):
    """A checkpoint as input: its folder where it is fetched, all of them where the model is trained here."""
    if model in TOYS:
        return f"results/{model}/checkpoints"
    return f"results/{model}/checkpoints/{checkpoint}"


def checkpoint_folder(wildcards):
    """The wildcards' checkpoint."""
    return checkpoint_inputs(wildcards.model, wildcards.checkpoint)


def finished_checkpoint(wildcards):
    """The finished model."""
    return checkpoint_inputs(wildcards.model, checkpoints(wildcards.model)[-1])


def embeddings_checkpoint(wildcards):
    """The finished model whose input embeddings cluster tokens."""
    model = embeddings_model(wildcards.model)
    return checkpoint_inputs(model, checkpoints(model)[-1])


def bilingual_documents(wildcards):
    """The documents of the classed languages, in their order."""
    folder = f"{WORLD}/documents" if wildcards.model in TOYS else "results/documents"
    return [f"{folder}/{lang}.parquet" for lang in STUDY.bilingual_languages]


def searched_rates(wildcards):
    """The search of the learning rate, where one is asked for."""
    if not STUDY.bilingual.learning_rates:
        return []
    return f"results/{wildcards.model}/tables/learning_rates.parquet"


def checkpoint_tables(model, name):
    """A table of every checkpoint and block of layers."""
    return [
        f"results/{model}/bilingual/{checkpoint}/{block}/{name}.parquet"
        for checkpoint in checkpoints(model)
        for block in bilingual_blocks(model)
    ]


def bilingual_blocks(model):
    """The layer blocks whose SAEs are trained together."""
    return blocks(STUDY.models[model].layer_list, STUDY.bilingual.layers_per_job)


def intervention_block(wildcards):
    """Checkpoint and block of the SAE whose features are injected, as a path."""
    layer = STUDY.intervention_place(wildcards.model)[1]
    limits = [
        (block, *map(int, block.split("-")))
        for block in bilingual_blocks(wildcards.model)
    ]
    block = next(block for block, first, last in limits if first <= layer <= last)
    return f"{checkpoints(wildcards.model)[-1]}/{block}"


def translation_segments(wildcards):
    """The parallel sentences that an injected model translates, by language; nothing if none is asked for."""
    told = (config["bilingual"]["intervention"] or {}).get("translations")
    if not told:
        return []
    folder = told["folder"] or f"{WORLD}/segments"
    return [f"{folder}/{lang}.parquet" for lang in STUDY.bilingual_languages]


def parallel_sources(wildcards):
    """The data set that parallel questions are read from; the toy world's own, or one fetched."""
    if wildcards.place != "latent":
        return world_benchmarks(
            STUDY.latent_languages(wildcards.task), [wildcards.task]
        )
    return f"results/latent/sources/{wildcards.task}"


def reference_sources(wildcards):
    """English questions for a data set that has none."""
    if wildcards.task != "mmmlu":
        return []
    return "results/latent/sources/mmmlu-reference"


def latent_source(wildcards):
    """Where the questions of a data set are fetched from."""
    name, _, reference = wildcards.source.partition("-")
    return config["latent"]["tasks"][name][
        "reference_source" if reference else "source"
    ]


def latent_source_languages(wildcards):
    """The languages that are fetched of a data set."""
    name, _, reference = wildcards.source.partition("-")
    languages = STUDY.latent_languages(name)
    if name != "mmmlu":
        return languages
    return [lang for lang in languages if (lang == REFERENCE) == bool(reference)]


def latent_source_files(wildcards):
    """The files of a local data set: a change there runs its fetch again."""
    folder = latent_source(wildcards)["folder"]
    inside = {"belebele": ["data"], "mmmlu": ["test"], "mmmlu-reference": ["all"]}.get(
        wildcards.source,
        [f"data/{lang}" for lang in latent_source_languages(wildcards)],
    )
    return [path for part in inside for path in local_files(folder, part)]


def parallel_questions(wildcards):
    """The table of parallel questions that a model is asked."""
    return latent_questions(wildcards.model, wildcards.task)


def latent_questions(model, task):
    """The table of parallel questions of a data set."""
    place = f"{WORLD}/latent" if model in TOYS else "results/latent"
    return f"{place}/questions/{task}.parquet"


def latent_task_languages(task, reference=True):
    """The languages of a data set of paper B, with or without the reference."""
    languages = STUDY.latent_languages(task)
    return [lang for lang in languages if reference or lang != REFERENCE]


def latent_measurements(reference=True):
    """Each data set and language of paper B, with or without the reference."""
    return [
        (task, lang)
        for task in STUDY.latent.tasks
        for lang in latent_task_languages(task, reference)
    ]


def score_tables(wildcards):
    """The scores of each of `latent_measurements`."""
    return [
        path
        for task in STUDY.latent.tasks
        for path in language_files(
            f"results/{wildcards.model}/latent/scores/{task}",
            latent_task_languages(task),
        )
    ]


def steered_tables(wildcards):
    """The sweeps of each of `latent_measurements` but the reference's; nothing if nothing steers."""
    if not STUDY.latent.steering:
        return []
    return [
        path
        for task in STUDY.latent.tasks
        for path in language_files(
            f"results/{wildcards.model}/latent/steered/{task}",
            latent_task_languages(task, reference=False),
        )
    ]


def latent_reference_scores(wildcards):
    """The scores of each data set in the reference."""
    tables = score_tables(wildcards)
    return [path for path in tables if Path(path).stem == REFERENCE]


def scored_without_reference(wildcards):
    """The scores of each data set and language but the reference."""
    tables = score_tables(wildcards)
    return [path for path in tables if Path(path).stem != REFERENCE]


def state_files(model, task):
    """The hidden states of the held-out questions, by language."""
    languages = latent_task_languages(task)
    folder = f"results/{model}/latent/states/{task}"
    files = language_files(folder, languages, "safetensors")
    return dict(zip(languages, files, strict=True))


def projected_states(wildcards):
    """The hidden states of each of `latent_measurements`."""
    return [
        path
        for task in STUDY.latent.tasks
        for path in state_files(wildcards.model, task).values()
    ]


def scored_languages(wildcards):
    """The languages that a latent_score job takes."""
    return language_blocks(latent_task_languages(wildcards.task))[wildcards.langs]


def steered_languages(wildcards):
    """The languages that a steer job takes."""
    languages = latent_task_languages(wildcards.task, reference=False)
    return language_blocks(languages)[wildcards.langs]


def control_languages(wildcards):
    """The language whose vector is the control, by language that is steered: the next; none without a third."""
    others = latent_task_languages(wildcards.task, reference=False)
    if not STUDY.latent.steering.other or len(others) < 2:
        return {}
    return {
        lang: others[(others.index(lang) + 1) % len(others)]
        for lang in steered_languages(wildcards)
    }


def steering_states(wildcards):
    """The states that steering vectors of a job are made of, by language."""
    steered, controls = steered_languages(wildcards), control_languages(wildcards)
    needed = {REFERENCE, *steered, *controls.values()}
    files = state_files(wildcards.model, wildcards.task)
    shared = STUDY.latent.steering.shared
    return {lang: files[lang] for lang in files if shared or lang in needed}
