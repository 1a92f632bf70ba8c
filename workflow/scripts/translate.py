from isogloss.phrases.translation import translate
from isogloss.stage import provenance, stage

with stage(snakemake):
    translate(
        phrases=list(snakemake.input.phrases),
        layers=snakemake.params.layers,
        output=snakemake.output[0],
        lang=snakemake.wildcards.lang,
        source_lang=snakemake.params.source_lang,
        settings=snakemake.params.settings,
        segments=snakemake.input.get("segments") or None,
        space=snakemake.params.space,
        translator=snakemake.input.get("translator") or None,
        back_translator=snakemake.input.get("back_translator") or None,
        language_codes=snakemake.input.get("codes") or None,
        target=snakemake.params.target,
        back_target=snakemake.params.back_target,
        state_folder=snakemake.params.state_folder,
        metadata=provenance(snakemake),
    )
