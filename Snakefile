# isogloss: where a language model's languages part ways.
#   snakemake --cores 2                                   the embedded default (config/config.yaml)
#   snakemake --profile slurm --configfile config/studies/STUDY.yaml
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


# A study is a whole configuration: it replaces the default, it is not merged into it.
if "study" not in config:

    configfile: Path(str(workflow.current_basedir), "config", "config.yaml")


include: "workflow/rules/package.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/common.smk"


if LOCAL and Path(OVERVIEW).is_file():

    report: OVERVIEW


include: "workflow/rules/world.smk"
include: "workflow/rules/text.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/phrases.smk"
include: "workflow/rules/residuals.smk"
include: "workflow/rules/disparity.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/benchmarks.smk"
include: "workflow/rules/bilingual.smk"
include: "workflow/rules/sae_seeds.smk"
include: "workflow/rules/parallel_questions.smk"
include: "workflow/rules/latent.smk"
include: "workflow/rules/steering.smk"
include: "workflow/rules/causal.smk"
include: "workflow/rules/explore.smk"
include: "workflow/rules/planted.smk"
include: "workflow/rules/joined.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/cluster.smk"


rule all:
    input:
        "results/report.html",
        FINAL,
    localrule: True


rule results:
    input:
        REPORTED,
    localrule: True
