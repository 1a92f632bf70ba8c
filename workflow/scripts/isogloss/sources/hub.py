"""Files of a Hugging Face repository, or of a local folder laid out like one, and the record of them."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx2
import yaml
from huggingface_hub import HfApi, constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError

Kind = Literal["model", "dataset"]
UNREACHABLE = (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.TransportError)
ELSEWHERE = "fetch it where there is a network, or give `folder` with the repository's files"
TIMEOUT = 10  # seconds to wait for the Hub's first answer
_CARD = "README.md"


class Repository(NamedTuple):
    """A repository at a commit, or a local folder in its place."""

    where: str  # how messages call it
    kind: Kind
    id: str | None
    requested: str | None  # revision that was asked for
    commit: str | None
    folder: Path | None  # where the files are; None: on the Hub
    listing: tuple[str, ...] | None  # names of all files; None: whatever is in the folder

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
        return name in self.names(escape(name))

    def take(self, names: Iterable[str]) -> dict[str, Path]:
        """The files on this machine, by name; what the Hub's cache lacks is downloaded into it.

        Files come one after another and stay, so a killed download goes on with the file that it was at
        (huggingface_hub begins an unfinished file anew; a connection that breaks off it takes up where it
        was). Raises `IsoglossError` as `open_repository`.
        """
        names = list(names)
        folder = self.folder
        if folder is None:
            assert self.id is not None
            with one_line(self.id, self.requested, self.kind):
                snapshot = snapshot_download(
                    self.id,
                    revision=self.commit,
                    repo_type=self.kind,
                    allow_patterns=[escape(name) for name in names],
                    max_workers=1,
                )
            folder = Path(snapshot)
        for name in names:
            if not (folder / name).is_file():
                raise IsoglossError(f"{self.where}: {name} is not there; {ELSEWHERE}")
        return {name: folder / name for name in names}


def open_repository(source: Source, kind: Kind = "model") -> Repository:
    """What `source` has to offer, a local folder or a repository of the Hub.

    Raises `IsoglossError` for a folder that is not there, and as `hub_repository`.
    """
    if source.folder is not None:
        folder = Path(source.folder).expanduser().absolute()
        if not folder.is_dir():
            raise IsoglossError(f"{source.folder}: no such folder; correct `folder`, or leave it out to download")
        return Repository(source.folder, kind, source.id, None, None, folder, None)
    assert source.id is not None  # the configuration asks for one of the two
    return hub_repository(source.id, source.revision, kind)


def hub_repository(name: str, revision: str, kind: Kind = "model") -> Repository:
    """The repository `name` of the Hub; the revision is resolved to a commit.

    Without a network, in offline mode or while the Hub is down, what its cache has of that revision. Raises
    `IsoglossError` for a gated or unknown repository, an unknown revision,
    or if neither the Hub nor a cached copy can be reached.
    """
    where = f"{name} at revision {revision}"
    with one_line(name, revision, kind):
        try:
            api = HfApi()
            info_of = api.dataset_info if kind == "dataset" else api.model_info
            info = info_of(name, revision=revision, timeout=TIMEOUT)
            api.resolve_revision(name, revision=revision, repo_type=kind)  # notes a branch's commit for `_cached`
        except (OfflineModeIsEnabled, httpx2.TransportError, HfHubHTTPError) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            return _cached(name, revision, kind, where, error)
    listing = tuple(sibling.rfilename for sibling in info.siblings or ())
    return Repository(where, kind, name, revision, info.sha, None, listing)


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


@contextmanager
def one_line(name: str, revision: str | None, kind: Kind) -> Iterator[None]:
    """Turn what huggingface_hub raises about a repository into an `IsoglossError`; a full disk passes."""
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
    where = f"{name} at revision {revision}"
    login = "`hf auth login` or set HF_TOKEN"
    try:
        yield
    except GatedRepoError:
        raise IsoglossError(f"{where}: gated; accept its licence at {page}, then {login}") from None
    except RepositoryNotFoundError:
        raise IsoglossError(
            f"{where}: no {kind} of that name at {page}; correct the id, or if it is private, {login}"
        ) from None
    except RevisionNotFoundError:
        raise IsoglossError(f"{where}: the {kind} has no such revision; see {page}/commits/main") from None
    except HFValidationError:
        raise IsoglossError(
            f"{name!r} is not the id of a repository (OWNER/NAME); for files on this machine give `folder`"
        ) from None
    except XetDownloadError as error:
        raise IsoglossError(f"{where}: the download broke off ({_reason(error)}); run snakemake again") from None
    except (*UNREACHABLE, HfHubHTTPError) as error:
        status = next(
            (cause.response.status_code for cause in _causes(error) if isinstance(cause, HfHubHTTPError)), None
        )
        if status is None:
            raise IsoglossError(f"{where}: the Hub cannot be reached ({_reason(error)}); {ELSEWHERE}") from None
        mend = f"see that your token may read {page}: {login}" if status in (401, 403) else "try again later"
        raise IsoglossError(f"{where}: the Hub answers {status} ({_reason(error)}); {mend}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise IsoglossError(f"{where}: the download broke off ({_reason(error)}); run snakemake again") from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _reason(error: BaseException) -> str:
    """Why, on one line: what lies at the bottom, since huggingface_hub's own text is a paragraph of advice."""
    *_, bottom = _causes(error)
    if isinstance(bottom, OfflineModeIsEnabled):
        return "offline mode, HF_HUB_OFFLINE"
    return (str(bottom).strip().splitlines() or [type(bottom).__name__])[0].rstrip(".")


def link(files: Mapping[str, Path], folder: Path) -> None:
    """Symbolic links in `folder`, by name, to the files themselves."""
    for name, path in files.items():
        target = folder / name
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

    `license`, or for licence `other` its `license_name`; None where there is no README.md or it names none.
    """
    if not repository.has(_CARD):
        return None
    try:
        text = repository.take([_CARD])[_CARD].read_text(encoding="utf-8")
        start, _, rest = text.partition("---\n")
        front, closed, _ = rest.partition("\n---")
        card = yaml.safe_load(front) if closed and not start.strip("\ufeff") else None
    except (UnicodeDecodeError, yaml.YAMLError):
        return None
    if not isinstance(card, dict):
        return None
    licence = card.get("license")
    named = (card.get("license_name") if licence == "other" else None) or licence
    return ", ".join(map(str, named)) if isinstance(named, list) else named and str(named)


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
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
