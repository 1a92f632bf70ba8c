"""Files of a Hugging Face repository, or of a local folder laid out like one, and the record of them."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from glob import escape
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import httpx2
from huggingface_hub import HfApi, RepoFile, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.sources.cards import CARD, read_card
from isogloss.sources.hub_client import use_client
from isogloss.sources.hub_errors import FOLDER_KEY, Kind, elsewhere, one_line

_NAME = 255  # bytes of a name that file systems take
_LICENCE = 200  # characters of a licence's name
TIMEOUT = 10  # seconds to wait for the Hub's first answer


class Repository(NamedTuple):
    """A repository at a commit, or a local folder in its place."""

    where: str  # how messages call it
    kind: Kind
    id: str | None
    requested: str | None  # revision that was asked for
    commit: str | None
    folder: Path | None  # where the files are; None: on the Hub
    listing: tuple[str, ...] | None  # names of all files; None: whatever is in the folder
    folder_key: str = FOLDER_KEY  # how messages say to give a local folder instead

    def names(self, pattern: str) -> list[str]:
        """The names that match, folder by folder (`data/*/test.jsonl`), sorted."""
        if self.listing is None:
            assert self.folder is not None
            names = [path.relative_to(self.folder).as_posix() for path in self.folder.glob(pattern) if path.is_file()]
            return sorted(names)
        depth = pattern.count("/")
        return sorted(name for name in self.listing if name.count("/") == depth and fnmatchcase(name, pattern))

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return _is_inside(name) and name in self.names(escape(name))

    def take(self, names: Iterable[str]) -> dict[str, Path]:
        """The files on this machine, by name; what the Hub's cache lacks is downloaded into it.

        Files come one after another and stay, so a killed download goes on with the file that it was at
        (huggingface_hub begins an unfinished file anew; a connection that breaks off it takes up where it
        was). One that is not what the Hub lists is dropped: by size or checksum, or by size alone if it was in the
        cache. Raises `IsoglossError` as `open_repository`, and for a name that leads out of the repository.
        """
        names = [inside(name, self.where) for name in names]
        folder, new = self.folder, list[str]()
        if folder is None:
            folder, new = self._download(names)
        for file in self._tree() if self.commit else ():
            if file.path in names:
                _check_content(folder / file.path, file, f"{self.where}: {file.path}", new=file.path in new)
        for name in names:
            if not (folder / name).is_file():
                raise IsoglossError(f"{self.where}: {name} is not there; {elsewhere(self.folder_key)}")
        return {name: folder / name for name in names}

    def _download(self, names: list[str]) -> tuple[Path, list[str]]:
        """The snapshot with these files, and those of them that it lacked."""
        assert self.id is not None
        assert self.commit is not None
        use_client()
        with one_line(self.id, self.requested, self.kind, self.folder_key):
            snapshot = partial(snapshot_download, self.id, revision=self.commit, repo_type=self.kind)
            try:
                kept = Path(snapshot(local_files_only=True, allow_patterns=[]))
                new = [name for name in names if not (kept / name).exists()]
            except LocalEntryNotFoundError:
                new = names
            folder = Path(snapshot(allow_patterns=[escape(name) for name in names], max_workers=1))
        return folder, new

    def _tree(self) -> list[RepoFile]:
        """What the cache has of the Hub's list of files."""
        assert self.id is not None
        try:
            return get_cached_repo_tree(self.id, revision=self.commit, repo_type=self.kind)
        except CachedRepoTreeNotFoundError:
            return []


def inside(name: str, where: str) -> str:
    """`name`; raises `IsoglossError` for one that is no name of a file within a folder."""
    if not _is_inside(name):
        raise IsoglossError(f"{where}: {name!r} is no name of a file within it; give another source, or mend its index")
    return name


def _is_inside(name: str) -> bool:
    """Whether a name stays below its folder, on any system, and can be one: half a surrogate pair cannot."""
    windows = PureWindowsPath(name)
    try:
        if any(len(part.encode()) > _NAME for part in windows.parts):
            return False
    except UnicodeEncodeError:
        return False
    return bool(windows.parts) and ".." not in windows.parts and not windows.anchor and min(name) >= " "


def _check_content(path: Path, listed: RepoFile, where: str, *, new: bool) -> None:
    """Drop a file, and raise `IsoglossError`, unless its size and, if it is new, its checksum are as the Hub lists."""
    if not path.is_file():
        return
    size, content = path.stat().st_size, path.resolve()
    if listed.lfs is not None:
        same = size == listed.lfs.size and (not new or _digest(content, "sha256") == listed.lfs.sha256)
    else:
        same = size == listed.size and (not new or _is_blob(content, size, listed.blob_id or ""))
    if not same:
        path.unlink()
        content.unlink(missing_ok=True)
        raise IsoglossError(
            f"{where} is not what the Hub lists (size or checksum), so it was dropped: a proxy or a damaged download;"
            " run snakemake again"
        )


def _is_blob(path: Path, size: int, blob: str) -> bool:
    """Whether Git would call a file so; true for a name that is no SHA-1."""
    git = _digest(path, "sha1", b"blob %d\0" % size)
    return git == blob or len(blob) != len(git)


def open_repository(source: Source, kind: Kind = "model", folder_key: str = FOLDER_KEY) -> Repository:
    """What `source` has to offer, a local folder or a repository of the Hub.

    `folder_key` is how messages say that a local folder is given. Raises `IsoglossError` for a folder that is not
    there, and as `hub_repository`.
    """
    if source.folder is not None:
        folder = Path(source.folder).expanduser().absolute()
        if not folder.is_dir():
            raise IsoglossError(f"{source.folder}: no such folder; correct `folder`, or leave it out to download")
        return Repository(source.folder, kind, source.id, None, None, folder, None)
    assert source.id is not None  # the configuration asks for one of the two
    return hub_repository(source.id, source.revision, kind, folder_key)


def hub_repository(name: str, revision: str, kind: Kind = "model", folder_key: str = FOLDER_KEY) -> Repository:
    """The repository `name` of the Hub; the revision is resolved to a commit.

    Without a network, in offline mode or while the Hub is down, what its cache has of that revision. Raises
    `IsoglossError` for a gated or unknown repository, an unknown revision,
    or if neither the Hub nor a cached copy can be reached.
    """
    where = f"{name} at revision {revision}"
    use_client()
    with one_line(name, revision, kind, folder_key):
        try:
            api = HfApi()
            info_of = api.dataset_info if kind == "dataset" else api.model_info
            info = info_of(name, revision=revision, timeout=TIMEOUT)
            api.resolve_revision(name, revision=revision, repo_type=kind)  # notes a branch's commit for `_cached`
        except (OfflineModeIsEnabled, httpx2.TransportError, HfHubHTTPError) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            return _cached(name, revision, kind, where, error)._replace(folder_key=folder_key)
        listing = tuple(sibling.rfilename for sibling in info.siblings or () if _is_inside(sibling.rfilename))
    return Repository(where, kind, name, revision, info.sha, None, listing, folder_key)


def _cached(name: str, revision: str, kind: Kind, where: str, cause: Exception) -> Repository:
    """The snapshot that the cache has of `revision`; raises `cause` if it has none."""
    try:
        folder = Path(
            snapshot_download(name, revision=revision, repo_type=kind, local_files_only=True, allow_patterns=[])
        )
    except LocalEntryNotFoundError:
        raise cause from None
    try:
        listing = tuple(file.path for file in get_cached_repo_tree(name, revision=revision, repo_type=kind))
    except CachedRepoTreeNotFoundError:
        listing = None
    where = f"{where} (in the cache; the Hub is out of reach)"
    return Repository(where, kind, name, revision, folder.name, folder, listing)


def link(files: Mapping[str, Path], folder: Path) -> None:
    """Symbolic links in `folder`, by name, to the files themselves; raises `IsoglossError` as `inside`."""
    for name, path in files.items():
        target = folder / inside(name, str(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.resolve())


def record(folder: Path, repository: Repository, files: Mapping[str, Path], **more: Any) -> None:
    """Write `fetched.json` about files taken from `repository`, by their names there, and its licence."""
    write_record(
        folder,
        files,
        id=repository.id,
        revision=repository.commit,
        requested=repository.requested,
        source="hub" if repository.commit else "folder",
        licence=licence_of(repository),
        **more,
    )


def licence_of(repository: Repository) -> str | None:
    """The licence that the front matter of README.md names, as the Hub's model and data set cards have it.

    `license`, or for licence `other` its `license_name`; None where there is no README.md or it names none. What is
    no text in it is left out: lists within lists of YAML may be endless.
    """
    if not repository.has(CARD):
        return None
    card = read_card(repository.take([CARD])[CARD])
    licence = card.get("license")
    named = (card.get("license_name") if licence == "other" else None) or licence
    given = named if isinstance(named, list) else [named]
    text = ", ".join(part[:_LICENCE] for part in given[:_LICENCE] if isinstance(part, str))
    return " ".join(text.encode(errors="replace").decode().split())[:_LICENCE] or None


def write_record(folder: Path, files: Mapping[str, Path], **more: Any) -> None:
    """Write `fetched.json`: what is known of the source, and size and SHA-256 of every file."""
    sizes = {name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in files.items()}
    text = json.dumps({**more, "files": sizes}, indent=2, ensure_ascii=False)
    (folder / "fetched.json").write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """SHA-256 in hex; the Hub's cache names large files by it, so that these need not be read."""
    if path.is_symlink():
        blob = path.parent / path.readlink()
        if blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name):
            return blob.name
    return _digest(path, "sha256")


def _digest(path: Path, kind: str, head: bytes = b"") -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.new(kind, head)).hexdigest()
