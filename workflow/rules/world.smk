# The toy world: facts from Unicode CLDR, told in every language.
#   in:  nothing but the configuration
#   out: facts, documents, parallel segments, benchmarks in the upstream schemas


def world_benchmarks(languages, tasks):
    """The world's benchmark files in the layout of the upstream data sets."""
    return [
        f"{WORLD}/benchmarks/m_{task}/data/{lang}/{split}.jsonl"
        for task in tasks
        for lang in languages
        for split in ("train", "val", "test")
    ]


rule toy_world:
    output:
        facts=f"{WORLD}/facts.parquet",
        bilingual=f"{WORLD}/bilingual.parquet",
        documents=expand(f"{WORLD}/documents/{{lang}}.parquet", lang=STUDY.world.languages),
        segments=expand(f"{WORLD}/segments/{{lang}}.parquet", lang=STUDY.world.languages),
        benchmarks=world_benchmarks(STUDY.world.languages, ["arc", "hellaswag", "mmlu"]),
    log:
        f"{WORLD}/logs/toy_world.log",
    benchmark:
        f"{WORLD}/usage/toy_world.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(world=STUDY.world.without("bilingual")),
        code=code("toy_world"),
        seed=STUDY.seed,
        folder=lambda wildcards, output: str(Path(output.facts).parent),
        reference=REFERENCE,
    message:
        "Tell the toy world in {params.world.languages}"
    script:
        "../scripts/toy_world.py"
