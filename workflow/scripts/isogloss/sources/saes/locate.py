"""Where a published SAE lies and in which layout, for the stage that fetches it and for what is asked before."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from isogloss.config.pretrained import PretrainedModel, Saes, Source
from isogloss.errors import IsoglossError
from isogloss.sources.hub import Repository, open_repository
from isogloss.sources.saes.belonging import check_model
from isogloss.sources.saes.choice import sae_id
from isogloss.sources.saes.published import Layout, Opened, Shape
from isogloss.sources.saes.release import Release, find_release
from isogloss.sources.saes.table import LAYOUTS

_SHOWN = 8


class Located(NamedTuple):
    """One SAE in its repository."""

    repository: Repository
    release: Release | None
    layout: str
    path: str  # in the repository
    sae_id: str

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"{self.repository.where}: {self.path}"

    def names(self) -> dict[str, str]:
        """The names of its files in the repository, by those in its layout."""
        layout = LAYOUTS[self.layout]
        names = {file: _inside(self.path, file) for file in (*layout.files, *layout.also)}
        return {file: name for file, name in names.items() if file in layout.files or self.repository.has(name)}


def locate(saes: Saes, name: str) -> Located:
    """The SAE `name` of `saes`; nothing is downloaded. Raises `IsoglossError` for one that is not there.

    `name` is an id of `saes.release` where SAELens' directory has it, else a folder or file of the source.
    """
    source, release, path = _source(saes, name)
    if saes.layout is not None and saes.layout not in LAYOUTS:
        raise IsoglossError(f"saes.layout is {saes.layout}; understood are {', '.join(LAYOUTS)}")
    repository = open_repository(source)
    fitting = [key for key, layout in LAYOUTS.items() if _fits(repository, path, layout)]
    if saes.layout is not None:
        fitting = [key for key in fitting if key == saes.layout]
    if not fitting:
        raise IsoglossError(f"{repository.where}: {path}: {_lacking(saes.layout)}{_beside(repository, path)}")
    if len(fitting) > 1:
        raise IsoglossError(f"{repository.where}: {path}: files of {' and '.join(fitting)}; say which in saes.layout")
    return Located(repository, release, fitting[0], path, name)


def open_sae(saes: Saes, located: Located) -> Opened:
    """The SAE's files on this machine; what the Hub's cache lacks is downloaded."""
    names, release, repository = located.names(), located.release, located.repository
    files = repository.take(names.values())
    folder = repository.folder.name if repository.folder else None
    return Opened(
        where=located.where,
        files={file: files[name] for file, name in names.items()},
        sae_id=located.path,
        names=tuple(name for name in (repository.id, release and release.repository, saes.release, folder) if name),
        scale=release.scales.get(located.sae_id) if release else None,
        overrides=release.overrides if release else {},
        ignore=saes.ignore,
    )


def sae_shape(saes: Saes, layer: int) -> Shape | None:
    """Kind and width of the SAE of a layer, read from a local folder without its weights; None without the folder.

    Raises `IsoglossError` as `locate`.
    """
    folder = saes.source.folder if saes.source else None
    if folder is None or not Path(folder).expanduser().is_dir():
        return None
    located = locate(saes, sae_id(saes, layer))
    return LAYOUTS[located.layout].shape(open_sae(saes, located))


def require_saes(models: Mapping[str, PretrainedModel]) -> None:
    """Raise `IsoglossError` with a line for every model of which it is known, without a network, that SAEs are lacking.

    Those of a local folder that are not there, those that SAELens' directory does not list, and a release that is of
    another model.
    """
    lines: list[str] = []
    for name, model in models.items():
        lacking: dict[int, str] = {}
        for layer in model.layer_list if model.saes else ():
            try:
                _require(model, layer)
            except IsoglossError as error:
                lacking[layer] = str(error)
        if lacking:
            layers = f"layer{'s' * (len(lacking) > 1)} {', '.join(map(str, lacking))}"
            lines.append(f"  models.{name}.saes: {layers}: {next(iter(lacking.values()))}")
    if lines:
        raise IsoglossError("\n".join(["SAEs of the configuration are not there", *lines]))


def _require(model: PretrainedModel, layer: int) -> None:
    assert model.saes is not None
    name = sae_id(model.saes, layer)
    source, release, _ = _source(model.saes, name)
    if source.folder is not None:
        locate(model.saes, name)
    if release is not None and "model_name" not in model.saes.ignore:
        check_model(release.model, model.source.id, f"release {release.name}")


def _source(saes: Saes, name: str) -> tuple[Source, Release | None, str]:
    release = find_release(saes.release) if saes.release else None
    if saes.source is not None:
        return saes.source, release, release.paths.get(name, name) if release else name
    assert saes.release is not None  # the configuration asks for one of the two
    if release is not None:
        return Source(id=release.repository), release, release.path(name)
    if "/" not in saes.release:
        raise IsoglossError(
            f"SAELens' directory has no release {saes.release}; correct saes.release, or give saes.source instead"
        )
    return Source(id=saes.release), None, name


def _inside(path: str, file: str) -> str:
    if file.startswith("../"):
        return str(PurePosixPath(path).parent / file.removeprefix("../"))
    return str(PurePosixPath(path) / file) if file else path


def _fits(repository: Repository, path: str, layout: Layout) -> bool:
    return path.endswith(layout.id_ends) and all(repository.has(_inside(path, file)) for file in layout.files)


def _lacking(layout: str | None) -> str:
    wanted = [LAYOUTS[layout]] if layout else LAYOUTS.values()
    files = [" with ".join(file or f"*{one.id_ends}" for file in one.files) for one in wanted]
    return f"no SAE in a layout that is understood ({'; '.join(files)})"


def _beside(repository: Repository, path: str) -> str:
    """What the folder above has instead, for the message."""
    above = PurePosixPath(path).parent
    firsts = {layout.files[0] for layout in LAYOUTS.values()}
    others = sorted(
        {
            name.removesuffix(f"/{file}")
            for file in firsts
            for name in repository.names(str(above / "*" / file) if file else str(above / "layer*.pt"))
        }
    )
    shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
    return f"; there are {shown}: correct saes.ids" if others else "; correct saes.ids or the source"
