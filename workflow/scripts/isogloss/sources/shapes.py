"""The shape of a model that a study names, read from its `config.json` once and kept for the jobs of the study.

Every process that reads the Snakefile needs the number of layers. The process that plans a run asks the source, the Hub
too; its jobs, which may have no network, read what was kept in Snakemake's own folder.
"""

import logging
from pathlib import Path

from isogloss.config.model import Shape
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.kept import FOLDER, keep, read_kept

logger = logging.getLogger(__name__)

CONFIG = "config.json"
KEPT = FOLDER / "isogloss.shapes.json"


def kept_shape(source: Source, *, fetch: bool = True) -> Shape:
    """The shape of the model at `source`, as it was read before; else, with `fetch`, from the source itself.

    Of a repository of the Hub this takes its `config.json` alone. Raises `IsoglossError` for a source that cannot be
    read or whose `config.json` describes no decoder that transformers knows.
    """
    kept, key = read_kept(KEPT), _key(source)
    if key not in kept:
        if not fetch:
            raise IsoglossError(f"{KEPT}: nothing kept of it; run snakemake in this folder again")
        kept[key] = _read(source).model_dump()
        keep(KEPT, kept)
    return Shape.model_validate(kept[key])


def _read(source: Source) -> Shape:
    from isogloss.sources.hub import open_repository  # a second to import, and needed once a study
    from isogloss.sources.model import read_shape

    if source.folder is None:  # said, since a dry run asks for it too
        logger.warning("Reading %s of %s from the Hub for the model's shape, once", CONFIG, source.id)
    repository = open_repository(source)
    if not repository.has(CONFIG):
        raise IsoglossError(f"{repository.where}: no {CONFIG}, so no transformers model; correct the source")
    return Shape.model_validate(read_shape(repository.take([CONFIG])[CONFIG], repository.where))


def _key(source: Source) -> str:
    """What the kept shape belongs to: a repository at a revision, or a file as it is."""
    if source.folder is None:
        return f"{source.id}@{source.revision}"
    path = Path(source.folder, CONFIG).expanduser().absolute()
    return f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" if path.is_file() else str(path)
