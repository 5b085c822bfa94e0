"""A job's bundle from S3 to a directory of this machine."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

from . import bundle_directory
from .aws import Aws
from .bundle import Bundle, stays_inside
from .bundle_directory import BundleDirectory
from .errors import CloudError
from .records import File
from .transfer import CHUNK, Changed, Source

THREADS = 32
PART = 16 << 20
"""Bytes of a big file that one request fetches."""

BIG = 4 * PART
"""A file of more bytes is fetched in parts."""


@dataclass(frozen=True)
class Download:
    """What a download did: files and bytes fetched, files that were there already, and what is to be known of it."""

    fetched: int
    bytes: int
    kept: int
    warnings: tuple[str, ...]


Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Shows how it goes with so many bytes, meanwhile; gives what is told the number of bytes of each chunk."""


def download(
    aws: Aws,
    bundle: Bundle,
    directory: Path,
    *,
    agree: Callable[[list[str]], None],
    progress: Progress,
    waiting: Callable[[], None],
) -> Download:
    """Bring a bundle from S3 to a directory: only what is missing or different, each file whole or not at all.

    Each file's sha256 is checked before it gets its name. Links and empty directories come after the files.
    agree: called with the names of what is to be overwritten although no download put it there; raises if it is not to.
    progress: what it gives is called by many threads.
    waiting: called once when another download into the directory is under way, before waiting for its end.
    Raises CloudError when a file is not what the record says, the disk is full, or S3 does not give it; what has
    arrived whole stays.
    """
    with bundle_directory.opened(directory, waiting) as held:
        missing = held.missing(bundle)
        size = sum(file.size for file in missing.files)
        held.check_space(size)
        if missing.overwritten:
            agree(missing.overwritten)
        held.remove_outdated()
        if missing.files:
            with progress(size) as told, closing(Source(aws, bundle.prefix, bundle.keys)) as source:
                _fetch_all(source, missing.files, held, told)
        for path in bundle.directories:
            held.make_directory(path)
        warnings = (*bundle.warnings, *_make_links(held, bundle, missing.links))
    return Download(len(missing.files), size, len(bundle.files) - len(missing.files), warnings)


def _make_links(held: BundleDirectory, bundle: Bundle, links: list[str]) -> Iterator[str]:
    """Make the links that are missing; yields what is to be known of those that cannot be."""
    for path in links:
        target = bundle.links[path]
        if not stays_inside(path, target):
            yield f"{path} is left out: it links to {target}, outside the bundle"
        elif why := held.make_link(path, target):
            yield f"{path}, a link to {target}, cannot be made here: {why}"


def _fetch_all(source: Source, files: list[File], held: BundleDirectory, progress: Callable[[int], None]) -> None:
    """Small files by one thread each; big ones after another, by all threads together."""
    small = deque(file for file in files if file.size <= BIG)

    def fetch_small() -> None:
        while small:
            try:
                file = small.popleft()
            except IndexError:  # another thread has taken the last one
                return
            _fetch(source, file, held, progress)

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for file in (file for file in files if file.size > BIG):
                _fetch_big(source, pool, file, held, progress)
            workers = [pool.submit(fetch_small) for _ in range(min(THREADS, len(small)))]
            for done in wait(workers, return_when=FIRST_EXCEPTION).done:
                done.result()
        except BaseException:
            source.stop()
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(source: Source, file: File, held: BundleDirectory, progress: Callable[[int], None]) -> None:
    """A file by one request, hashed as it comes."""
    digest = hashlib.sha256()
    with held.whole_file(file) as out:

        def write(chunk: memoryview, position: int) -> None:
            digest.update(chunk)
            _write_all(out, chunk, position)
            progress(len(chunk))

        _read(source, file, 0, file.size, write)
        _check(file, digest.hexdigest())


def _fetch_big(
    source: Source, pool: ThreadPoolExecutor, file: File, held: BundleDirectory, progress: Callable[[int], None]
) -> None:
    """A file in parts, by all threads; hashed behind them, from the page cache."""
    with held.whole_file(file) as out:

        def write(chunk: memoryview, position: int) -> None:
            _write_all(out, chunk, position)
            progress(len(chunk))

        def fetch(start: int) -> None:
            _read(source, file, start, min(start + PART, file.size), write)

        parts = {start: pool.submit(fetch, start) for start in range(0, file.size, PART)}
        try:
            _check(file, _hash_behind(out, parts))
        except BaseException:
            source.stop()
            for part in parts.values():
                part.cancel()
            wait(parts.values())  # no thread may write to a descriptor that is closed, and perhaps another file's then
            raise


def _hash_behind(out: int, parts: dict[int, Future[None]]) -> str:
    digest = hashlib.sha256()
    for start, part in parts.items():
        part.result()
        for position in range(start, start + PART, CHUNK):
            digest.update(os.pread(out, min(CHUNK, start + PART - position), position))
    return digest.hexdigest()


def _write_all(out: int, chunk: memoryview, position: int) -> None:
    """A disk that fills up takes a part of a chunk, and says so only when it is offered the rest."""
    while chunk:
        written = os.pwrite(out, chunk, position)
        chunk, position = chunk[written:], position + written


def _read(source: Source, file: File, start: int, end: int, write: Callable[[memoryview, int], None]) -> None:
    try:
        source.read(file.path, start, end, file.size, write)
    except Changed:
        _check(file, "")


def _check(file: File, sha256: str) -> None:
    if sha256 != file.sha256:
        raise CloudError(f"{file.path} in S3 is not what the job's record says (sha256 differs)")
