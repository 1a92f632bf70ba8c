"""Stage `fetch_exports`: the recorded top activations of an SAE's features, as Neuronpedia exports them."""

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import httpx2
from huggingface_hub import get_session
from huggingface_hub.errors import OfflineModeIsEnabled

from isogloss.config.pretrained import Neuronpedia
from isogloss.errors import IsoglossError, shown
from isogloss.sources.hub import link, write_record
from isogloss.sources.hub_client import Unusable, use_client
from isogloss.tables import atomic_path

logger = logging.getLogger(__name__)

BATCH = re.compile(r"batch-(\d{1,18})\.jsonl\.gz")
ATTEMPTS = 5  # requests of a file that bring nothing new before giving up
TIMEOUT = 30  # seconds without an answer
CHUNK = 1 << 20  # bytes
PAGES, PAGE = 10_000, 1 << 26  # pages of a listing, bytes of one; a bucket's have 1,000 files and under 1 MB


class Object(NamedTuple):
    """A file of the bucket, as the listing has it."""

    key: str
    size: int  # bytes
    etag: str  # MD5 of the content, unless it was uploaded in parts (then with a hyphen)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rsplit("/", 1)[-1]

    @property
    def md5(self) -> str | None:
        """The MD5 of the content, where the bucket tells it."""
        return self.etag if re.fullmatch(r"[0-9a-f]{32}", self.etag) else None


def fetch_exports(*, neuronpedia: Neuronpedia, source: str, output: str, downloads: str) -> None:
    """Make the folder `output` with every `batch-N.jsonl.gz` that the bucket, or its copy, has of the SAE `source`.

    `downloads`, a folder of this job's own, keeps what is there, whole files and parts, until the job
    is done: a killed one goes on where it was. Size and, where the bucket tells it, MD5 are checked.
    Raises `IsoglossError` if there are no exports, without a network, and for a file that does not come
    through.
    """
    prefix, url = f"{neuronpedia.model}/{source}/activations/", neuronpedia.url
    if neuronpedia.folder is not None:
        files = _local(Path(neuronpedia.folder).expanduser().absolute(), prefix)
        _warn_of_holes(list(files), prefix)
        with atomic_path(Path(output)) as aside:
            link(files, aside)
            write_record(aside, files, id=None, revision=None, requested=None, source="folder", prefix=prefix)
        return
    use_client()
    objects = list_objects(url, f"v1/{prefix}")
    _warn_of_holes([item.name for item in objects], prefix)
    files = {item.name: download(url, item, Path(downloads)) for item in objects}
    with atomic_path(Path(output)) as aside:
        aside.mkdir()
        for name, path in files.items():
            _into(path, aside / name)
        write_record(aside, files, id=None, revision=None, requested=None, source="bucket", url=url, prefix=prefix)
    shutil.rmtree(downloads, ignore_errors=True)  # another run, which a killed snakemake left behind, may have


def _local(root: Path, prefix: str) -> dict[str, Path]:
    folder = root / prefix
    files = {path.name: path for path in _in_order(folder.glob("batch-*.jsonl.gz"))}
    if not files:
        raise IsoglossError(
            f"{folder}: no batch-N.jsonl.gz there; neuronpedia.folder must hold MODEL/SOURCE/activations as the"
            " bucket's v1 does: check neuronpedia.folder, model and source"
        )
    return files


def _in_order(paths: Iterable[Path]) -> list[Path]:
    numbered = [(int(match[1]), path) for path in paths if (match := BATCH.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]


def _warn_of_holes(names: Sequence[str], prefix: str) -> None:
    numbers = {int(match[1]) for name in names if (match := BATCH.fullmatch(name))}
    if missing := max(numbers) + 1 - len(numbers):
        first = list(islice((str(number) for number in count() if number not in numbers), min(missing, 20)))
        listed = ", ".join(first) + (f", … ({missing})" if missing > len(first) else "")
        logger.warning("%s: no batch %s; the features in it will have no phrases", prefix, listed)


def list_objects(url: str, prefix: str) -> list[Object]:
    """The batches below `prefix`, by number, from as many pages as the bucket's listing has.

    Raises `IsoglossError` if there are none or the bucket does not answer as one.
    """
    objects: dict[int, Object] = {}
    tokens: set[str] = set()
    token: str | None = None
    while token is not None or not tokens:
        there, token = read_listing(_page(url, prefix, token), url, prefix)
        objects |= there
        if token in tokens or len(tokens) == PAGES:
            raise IsoglossError(f"{url}: the listing of {prefix} does not end; check neuronpedia.url")
        tokens.add(token or "")
    if not objects:
        raise IsoglossError(
            f"{url}: nothing named {prefix}batch-N.jsonl.gz; check neuronpedia.model and neuronpedia.source (on"
            " neuronpedia.org the page of a feature is MODEL/SOURCE/INDEX), and whether that source is exported"
        )
    return [objects[number] for number in sorted(objects)]


def _page(url: str, prefix: str, token: str | None) -> str:
    query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
    content = b""
    try:
        with get_session().stream("GET", f"{url.rstrip('/')}/", params=query, timeout=TIMEOUT) as answer:
            if answer.status_code != 200:
                raise IsoglossError(
                    f"{url}: the listing of {prefix} answers {answer.status_code}; check neuronpedia.url"
                )
            for chunk in answer.iter_bytes(CHUNK):
                content += chunk
                if len(content) > PAGE:
                    raise IsoglossError(
                        f"{url}: a page of the listing of {prefix} has over {PAGE >> 20} MB; check neuronpedia.url"
                    )
    except (httpx2.TransportError, httpx2.DecodingError, OfflineModeIsEnabled) as error:
        raise _unreachable(url, error) from None
    return content.decode(errors="replace")


def read_listing(text: str, url: str, prefix: str) -> tuple[dict[int, Object], str | None]:
    """The batches by number on a page of a bucket's listing, and the token of the next page.

    Raises `IsoglossError` for anything but the XML that S3 documents (ListObjectsV2).
    """
    where = f"{url}: the listing of {prefix}"
    # What S3 sends declares no document type; entities, the one danger of the standard parser, need one.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise IsoglossError(f"{where} is a web page, not a bucket's; check neuronpedia.url")
    try:
        page = ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeEncodeError) as error:
        raise IsoglossError(f"{where} is not XML ({error}); check neuronpedia.url") from None
    if not page.tag.endswith("ListBucketResult"):
        raise IsoglossError(f"{where} is no bucket's ({shown(page.tag)}); check neuronpedia.url")
    objects: dict[int, Object] = {}
    for item in page.iterfind("{*}Contents"):
        key, size, etag = (item.findtext(f"{{*}}{tag}", "") for tag in ("Key", "Size", "ETag"))
        if not (key.startswith(prefix) and (match := BATCH.fullmatch(key[len(prefix) :]))):
            continue
        etag = etag.strip('"')
        if not re.fullmatch(r"[0-9]{1,18}", size) or not re.fullmatch(r"[0-9A-Za-z-]{1,128}", etag):
            raise IsoglossError(
                f"{where} has Size {shown(size)} and ETag {shown(etag)} of {match[0]}, so it is no bucket's; check"
                " neuronpedia.url"
            )
        objects[int(match[1])] = Object(key, int(size), etag)
    token = page.findtext("{*}NextContinuationToken") or None
    if page.findtext("{*}IsTruncated") != "true":
        return objects, None
    if token is None:
        raise IsoglossError(f"{where} goes on and does not say where (NextContinuationToken); check neuronpedia.url")
    return objects, token


def download(url: str, item: Object, folder: Path) -> Path:
    """The file in `folder`: kept if it is there and right, else what is missing of it is downloaded.

    Raises `IsoglossError` if it does not come through, is changed meanwhile, or is not what the listing says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / item.name
    if path.is_file() and _is(path, item):
        return path
    part = folder / f"{item.name}.{item.etag}.part"  # of this very content, whatever the bucket had before
    address = f"{url.rstrip('/')}/{quote(item.key)}"
    fruitless = 0
    while (have := _size(part)) is None or have < item.size:
        reason: Exception | str = "cut off"
        try:
            _rest(address, part, have or 0, item.size)
        except (httpx2.TransportError, OfflineModeIsEnabled) as error:
            reason = error
        now = _size(part) or 0
        if now >= item.size:
            break
        fruitless = 0 if now > (have or 0) else fruitless + 1
        if fruitless == ATTEMPTS or isinstance(reason, OfflineModeIsEnabled | Unusable):
            raise _unreachable(address, reason)
        logger.warning("%s: broke off after %d of %d bytes (%s), going on", address, now, item.size, reason)
        time.sleep(1)
    if not _is(part, item):
        part.unlink()
        raise IsoglossError(
            f"{address}: what came is not what the bucket lists (size or MD5), so it was dropped; run snakemake again"
        )
    part.replace(path)
    return path


def _rest(address: str, part: Path, have: int, size: int) -> None:
    """Append to `part` what follows its `have` bytes, and nothing once it has `size` or more."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with get_session().stream("GET", address, headers=headers, timeout=TIMEOUT) as answer:
        if answer.status_code not in (200, 206):
            raise IsoglossError(f"{address}: the bucket answers {answer.status_code}; try again later")
        with part.open("ab" if answer.status_code == 206 else "wb") as handle:  # 200: the whole, from its beginning
            for chunk in answer.iter_raw(CHUNK):
                handle.write(chunk)
                if handle.tell() >= size:
                    break


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _is(path: Path, item: Object) -> bool:
    if path.stat().st_size != item.size:
        return False
    if item.md5 is None:
        return True
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest() == item.md5


def _into(path: Path, target: Path) -> None:
    """`path` at `target` too, without a second copy where the file system can."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _unreachable(url: str, error: Exception | str) -> IsoglossError:
    reason = "offline mode, HF_HUB_OFFLINE" if isinstance(error, OfflineModeIsEnabled) else error
    return IsoglossError(
        f"{url}: cannot be reached ({reason}); fetch where there is a network, or give neuronpedia.folder with a copy"
    )
