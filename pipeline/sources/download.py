"""Fetching published files: resumed after any interruption, over mirrors, checked, kept for the next data set.

Files wait in an archive store outside DVC's outputs (`run.archives`): DVC empties a stage's outputs before it runs,
and several data sets share an archive. A file that a user puts there is taken as downloaded.
"""

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from pipeline.common import files
from pipeline.common.errors import UserError, first_of
from pipeline.sources import archives, packing

TIMEOUT = (20, 60)
# how often a server may break off without giving a byte, and the seconds of the first wait after that
TRIES = 5
PAUSE = 1.0
BLOCK = 1 << 16


class _Failed(Exception):
    """A place will not give the file; the next one may."""


class _Interrupted(Exception):
    """A place stopped before the end, having given `received` bytes; asked again, it may go on."""

    def __init__(self, reason, received):
        super().__init__(reason)
        self.reason, self.received = reason, received


def fill(raw, sources, store, wanted, section="sources"):
    """Make `raw` a folder of each source that is needed, under its role's name; it stays as it was where one fails.

    raw: folder; sources: role -> `Source`; store: the archive store; wanted: what the params ask for beside what is
    always needed (see `Source`); section: the params key that messages name. Raises UserError where a source cannot be
    had.
    """
    needed = {role: source for role, source in sources.items() if source and source.needed in ("always", *wanted)}
    paths = {role: obtain(source, store, f"{section}.{role}") for role, source in needed.items()}
    with refilled(raw) as new:
        for role, path in paths.items():
            place(path, new, role, link=path.parent == Path(store))


@contextlib.contextmanager
def refilled(raw):
    """An empty folder that takes the place of `raw`, with all that it holds by then, only if the block ends well."""
    raw = Path(raw)
    new, old = (raw.with_name(f".{raw.name}.{name}") for name in ("new", "old"))
    if old.exists() and not raw.exists():
        # killed between the two renames below
        os.replace(old, raw)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        if raw.exists():
            os.replace(raw, old)
        os.replace(new, raw)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def place(path, raw, role, link=False):
    """Put a file or folder into raw under its role's name: a folder or .tgz as a .tar, all else as it is.

    link: share the file's bytes. DVC makes what it keeps read-only, so a file of the user's is copied instead.
    """
    if path.is_dir():
        packing.pack(path, raw / f"{role}.tar")
        return
    kind = archives.kind(path)
    if unread := archives.unread(path):
        raise UserError(f"{path}: is {unread}, which is not read; unpack it and give the folder, or a .zip or .tar.gz")
    if not kind and archives.named_as_one(path.name):
        raise UserError(f"{path}: is no archive, though its name says so; remove it to fetch it again")
    if kind:
        target = raw / f"{role}.tar"
        opened = packing.untar_gz(path, target) if kind == "gzip" else archives.Archive(path)
        if opened.twice:
            said = f"{path}: holds {first_of(opened.twice)} more than once; the last one counts, as if unpacked"
            print(said, flush=True)
        if kind == "gzip":
            return
    target = raw / f"{role}{'.' + kind if kind else path.suffix.lower()}"
    if link:
        with contextlib.suppress(OSError):  # another file system
            os.link(path.resolve(), target)
            return
    with files.replacing(target) as out, open(path, "rb") as file:
        shutil.copyfileobj(file, out, 1 << 20)


def obtain(source, store, key):
    """The path of a source's file (or folder), fetched and checked where need be."""
    urls = [source.url] if isinstance(source.url, str) else source.url
    name = source.file or Path(unquote(urlsplit(urls[0]).path)).name
    if not name or "/" in name or name in (".", ".."):
        raise UserError(f"{key}.file: {name!r} should be a plain file name")
    kept = Path(store) / name
    failures = []
    for url in urls:
        try:
            local = local_path(url)
            if local is None:
                return _stored(url, kept, source, urls, key)
            if not local.exists():
                raise _Failed("no such file or folder")
            if local.is_file():
                _verify(local, source, key)
            return local
        except (_Failed, OSError) as error:
            failures.append(f"{url}: {error}")
    raise UserError(
        f"{key}: cannot be fetched: {'; '.join(failures)}; give another url, or put the file into {store} as {name}"
    )


def _stored(url, kept, source, urls, key):
    """The file in the archive store, fetched from `url` unless it is there already."""
    if kept.exists() and _note(kept).exists() and not (source.sha256 or source.md5) and not _noted(kept):
        # nothing says any more where it came from, or that it is whole
        kept.replace(kept.with_name(f"{kept.name}.aside"))
        print(f"{kept}: set aside as {kept.name}.aside, for its note is damaged; fetched anew", flush=True)
    if not kept.exists():
        with _locked(kept):
            # another data set may have fetched it while this one waited
            if not kept.exists():
                _fetch(url, kept, source)
                return kept
    if not (source.sha256 or source.md5):
        _check_origin(kept, urls, key)
    _verify(kept, source, key)
    return kept


def local_path(url):
    """The path a url means on this machine (file:// or a plain path), or None for one on the network."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return None
    if parts.scheme == "file":
        # file://../data is no url by the standard, but what one types
        return Path(unquote(parts.netloc + parts.path)).expanduser()
    return Path(url).expanduser()


@contextlib.contextmanager
def _locked(path):
    """Hold a file's lock: two data sets that share an archive do not write the same part file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_origin(kept, urls, key):
    """Raise UserError where the stored file came from elsewhere; one without a note was put there by the user."""
    origin = _noted(kept).get("url", urls[0])
    if origin not in urls:
        raise UserError(
            f"{key}: {kept} was fetched from {origin}, which is not among its urls; remove it, or give {key}.file a "
            "name of its own"
        )


def _note(kept):
    return kept.with_name(kept.name + ".json")


def _noted(path):
    """What the note of a file or part file says; nothing where there is none, or one that is damaged."""
    try:
        found = files.read_json(_note(path))
    except UserError:
        return {}
    kinds = {"url": str, "size": (int, type(None)), "validator": (str, type(None))}
    whole = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    return found if whole else {}


def _verify(path, source, key):
    """Raise UserError unless the file has the stated checksum, if any."""
    for algorithm in ("sha256", "md5"):
        stated = getattr(source, algorithm)
        if stated and (found := _digest(path, algorithm)) != stated.lower():
            raise UserError(
                f"{key}: {path} has {algorithm} {found}, not {stated}; remove it to fetch it again, "
                f"or set {key}.{algorithm} if this file is meant"
            )


def _digest(path, algorithm):
    with tqdm(
        total=path.stat().st_size, unit="B", unit_scale=True, desc=f"check {path.name}", disable=None, leave=False
    ) as bar:
        return files.digest(path, algorithm, bar.update)


def _fetch(url, kept, source):
    """Download to `<kept>.part`, going on where an earlier try stopped, check it and give it its name."""
    part = kept.with_name(kept.name + ".part")
    pinned = bool(source.sha256 or source.md5)
    held = best = _size(part)
    print(f"fetching {kept.name} from {url}" + (f", {held:,} bytes are here already" if held else ""), flush=True)
    began, fetched, idle = time.monotonic(), 0, 0
    while True:
        try:
            fetched += _request(url, part, pinned)
            break
        except _Interrupted as stop:
            fetched += stop.received
            # a server that gets further each time is worth staying with
            idle = 0 if _size(part) > best else idle + 1
            best = max(best, _size(part))
            if idle == TRIES:
                raise _Failed(stop.reason) from None
            time.sleep(PAUSE * idle)
    sha256 = _digest(part, "sha256")
    for algorithm, stated in (("sha256", source.sha256), ("md5", source.md5)):
        found = sha256 if algorithm == "sha256" else _digest(part, algorithm) if stated else None
        if stated and found != stated.lower():
            _discard(part)
            raise _Failed(f"its {algorithm} is {found}, not {stated}")
    if archives.named_as_one(kept.name) and not archives.kind(part):
        _discard(part)
        raise _Failed(f"what it gives is no archive, as {kept.name} should be, but perhaps a web page")
    files.write_json(_note(kept), {"url": url, "size": _size(part), "sha256": sha256})
    os.replace(part, kept)
    _note(part).unlink(missing_ok=True)
    seconds = time.monotonic() - began
    print(f"fetched {kept.name}: {_size(kept):,} bytes, {fetched:,} of them now, in {seconds:.0f} s", flush=True)
    if not pinned:
        print(f"  no checksum is stated for it; to pin this very file, state sha256: {sha256}", flush=True)


def _request(url, part, pinned):
    """One request for what `part` lacks, appended to it; the bytes received.

    Raises _Interrupted where a further request may go on, _Failed where it will not.
    """
    known = _known(part, url, pinned)
    have = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known.get("url") == url and known.get("validator"):
            # the server answers with the whole file if it has another one by now
            headers["If-Range"] = known["validator"]
    received = 0
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            start, total = _extent(response, part, have, known.get("size"))
            if start != total:
                received = _receive(response, url, part, start, total)
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise _Interrupted(_reason(error), max(0, _size(part) - have)) from None
    except requests.RequestException as error:
        raise _Failed(_reason(error)) from None
    if total is not None and (now := _size(part)) != total:
        if now > total:
            _discard(part)
        raise _Interrupted(f"ended after {now:,} of {total:,} bytes", received)
    return received


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _known(part, url, pinned):
    """What is known of the part file; it is thrown away where it cannot be gone on with."""
    known = _noted(part)
    if part.exists() and _note(part).exists() and not known:
        print(f"{part}: its note is damaged; fetched anew", flush=True)
    if part.exists() and known.get("url") != url and not (pinned and known):
        # without a checksum nothing would show that two places' bytes were mixed
        _discard(part)
        return {}
    return known


def _extent(response, part, have, before):
    """The byte that the response starts at, and the file's length (None if unknown; `before`: as it was stated)."""
    if response.status_code == 416:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if total == str(have):
            return have, have
        _discard(part)
        raise _Interrupted(f"has {total or '?'} bytes where {have:,} were held; started again", 0)
    if response.status_code == 206:
        span, _, length = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        total = int(length) if length.isdigit() else None
        if span.partition("-")[0] != str(have) or (total and before and total != before):
            _discard(part)
            raise _Interrupted(f"gave bytes {span} of {length} where those from {have} of {before} were begun", 0)
        return have, total
    if response.status_code == 200:
        # the server takes no ranges, or has another file than the one begun
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    problem = f"answers {response.status_code} {response.reason}"
    if response.status_code in (408, 429) or response.status_code >= 500:
        raise _Interrupted(problem, 0)
    raise _Failed(problem)


def _receive(response, url, part, start, total):
    """Write the body from byte `start` on; the bytes received."""
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    # a weak ETag promises nothing about bytes
    validator = None if validator and validator.startswith("W/") else validator
    files.write_json(_note(part), {"url": url, "validator": validator, "size": total})
    received = 0
    name = part.name.removesuffix(".part")
    with (
        open(part, "r+b" if start else "wb") as out,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=f"fetch {name}", disable=None) as bar,
    ):
        out.seek(start)
        out.truncate()
        # some servers call a .tgz an encoding of a .tar: its bytes are wanted as they are
        for block in response.raw.stream(BLOCK, decode_content=False):
            out.write(block)
            # handed to the system, so that a kill costs no more than one block
            out.flush()
            received += len(block)
            bar.update(len(block))
    return received


def _discard(part):
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _reason(error):
    """A network error in a few words, without the library's object dump."""
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    text = str(error)
    for sign, words in (
        ("NameResolution", "the host's name is not known"),
        ("Name or service", "the host's name is not known"),
        ("refused", "connection refused"),
        ("unreachable", "network unreachable"),
        ("SSL", "the certificate was not accepted"),
        ("IncompleteRead", "the connection ended early"),
        ("reset", "the connection was reset"),
    ):
        if sign in text:
            return words
    return f"{type(error).__name__}: {text[:120]}"
