# Not comet.py: scripts beside it would import that in place of the COMET package.
from isogloss.bilingual.comet import score_comet
from isogloss.stage import stage

with stage(snakemake):
    score_comet(
        hypotheses=snakemake.input.hypotheses,
        model_folder=snakemake.input.comet,
        output=snakemake.output.comet,
    )
