from isogloss.phrases.translation import translate
from isogloss.stage import provenance, stage

with stage(snakemake):
    translate(
        phrases=list(snakemake.input.phrases),
        layers=snakemake.params.layers,
        output=snakemake.output[0],
        lang=snakemake.wildcards.lang,
        reference=snakemake.params.reference,
        backend=snakemake.params.backend,
        segments=snakemake.input.get("segments") or None,
        translator=snakemake.input.get("translator") or None,
        back_translator=snakemake.input.get("back_translator") or None,
        target=snakemake.params.target,
        back_target=snakemake.params.back_target,
        engine=snakemake.params.engine,
        compute_type=snakemake.params.compute_type,
        beam_size=snakemake.params.beam_size,
        minimum_chrf=snakemake.params.minimum_chrf,
        state_folder=snakemake.params.state_folder,
        metadata=provenance(snakemake),
    )
