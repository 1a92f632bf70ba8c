# Not comet.py: scripts beside it would import that in place of the COMET package.
from isogloss.bilingual.comet import score_comet
from isogloss.stage import stage

with stage(snakemake):
    score_comet(
        hypotheses=snakemake.input.hypotheses,
        unscored=snakemake.input.intervention,
        unscored_summary=snakemake.input.intervention_summary,
        model_folder=snakemake.params.comet,
        intervention=snakemake.output.intervention,
        intervention_summary=snakemake.output.intervention_summary,
    )
