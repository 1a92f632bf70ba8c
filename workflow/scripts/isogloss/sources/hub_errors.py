"""What goes wrong between here and the Hub, in one line that says what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from isogloss.errors import IsoglossError
from isogloss.redaction import redact
from isogloss.sources.hub_client import Unusable, asked_wait, minutes

Kind = Literal["model", "dataset"]
FOLDER_KEY = "`folder`"  # how a user gives a local folder instead, in a study file
_UNREACHABLE = (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.TransportError)
_LOGIN = "`hf auth login` or set HF_TOKEN"
_MISREAD = (LookupError, TypeError, AttributeError)  # what huggingface_hub raises for answers that it does not expect
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def one_line(name: str, revision: str | None, kind: Kind, folder_key: str = FOLDER_KEY) -> Iterator[None]:
    """Turn what huggingface_hub raises about a repository into an `IsoglossError`; a full disk passes as `OSError`."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, *_MISREAD) as error:
        if disk_is_full(error):
            raise OSError(errno.ENOSPC, "No space left on device") from None
        line = _line(error, f"{name} at revision {revision}", kind, _page(name, kind), folder_key)
        raise IsoglossError(redact(line)) from None


def _page(name: str, kind: Kind) -> str:
    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"


def elsewhere(folder_key: str) -> str:
    """What to do where the Hub is out of reach."""
    return f"fetch it where there is a network, or give {folder_key} with the repository's files"


def _line(error: Exception, where: str, kind: Kind, page: str, folder_key: str) -> str:
    unusable = next((cause for cause in _causes(error) if isinstance(cause, Unusable)), None)
    if unusable is not None:
        return f"{where}: {unusable}"
    if isinstance(error, GatedRepoError):
        return f"{where}: gated; accept its licence at {page}, then {_LOGIN}"
    if isinstance(error, RepositoryNotFoundError):
        return f"{where}: no {kind} of that name at {page}; correct the id, or if it is private, {_LOGIN}"
    if isinstance(error, RevisionNotFoundError):
        return f"{where}: the {kind} has no such revision; see {page}/commits/main"
    if isinstance(error, HFValidationError):
        owner, name = where.split(" at revision ")[0], "the id of a repository (OWNER/NAME)"
        return f"{owner!r} is not {name}; for files on this machine give {folder_key}"
    if isinstance(error, RemoteEntryNotFoundError):
        return f"{where}: a file that the Hub lists is not there any more ({_reason(error)}); run snakemake again"
    answered = next((cause for cause in _causes(error) if isinstance(cause, HfHubHTTPError)), None)
    if answered is not None:
        return f"{where}: the Hub answers {answered.response.status_code} ({_reason(error)}); {_mend(answered, page)}"
    if isinstance(error, XetDownloadError):
        return f"{where}: the download broke off ({_reason(error)}); run snakemake again"
    if any(isinstance(cause, (FileMetadataError, *_MISREAD)) for cause in _causes(error)):
        return (
            f"{where}: what answers at {constants.ENDPOINT} is not the Hub ({_reason(error)}); set HTTPS_PROXY or"
            " HF_ENDPOINT right, or log in to this network with a browser"
        )
    if isinstance(error, (*_UNREACHABLE, httpx2.HTTPError, httpx2.InvalidURL)):
        return f"{where}: the Hub cannot be reached ({_reason(error)}); {elsewhere(folder_key)}"
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"{where}: the Hub's cache cannot be used ({error.strerror}: {error.filename}); set HF_HOME to a folder"
            " that can be written, or mend this one"
        )
    if isinstance(error, OSError):
        return f"{where}: the download broke off ({_reason(error)}); run snakemake again"
    return f"{where}: it cannot be fetched ({_reason(error)}); correct the id, the proxy or HF_ENDPOINT"


def _mend(error: HfHubHTTPError, page: str) -> str:
    status = error.response.status_code
    if isinstance(error, DisabledRepoError) or status in (410, 451):
        return f"it was taken down: see {page}, and give another source"
    if status in (401, 403):
        return f"see that your token may read {page}: {_LOGIN}"
    if status == 407:
        return "give the proxy's user and password (HTTPS_PROXY)"
    if status == 404:
        return f"correct the id or the revision: see {page}"
    wait = asked_wait(error.response.headers, 0.0) if "Retry-After" in error.response.headers else None
    return f"try again in {minutes(wait)}" if wait else "try again later"


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is of a disk without space."""
    return any(
        (isinstance(cause, OSError) and cause.errno in _FULL) or "No space left on device" in str(cause)
        for cause in _causes(error)
    )


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
