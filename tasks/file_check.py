"""A first look at a file before a cluster is paid for: can it be this feed's at all?"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from blocks.feeds import Feed

# A header longer than this is no header; reading more of a broken file would only cost memory.
HEADER_BYTES = 1 << 20
CHUNK_BYTES = 1 << 20


def header_fault(feed: Feed, path: Path) -> str | None:
    """Say why a file cannot be read as this feed, or None.

    Looks at the first line that is not empty: nothing in it, unreadable compression, wrong encoding, missing
    or doubled columns. A compressed file is unpacked to its end: what Spark could not read would stop the
    batches of every other file too.
    """
    try:
        line = first_line(path)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be unpacked ({error}). Send the file again."
    if not line:
        return "is empty. Send the file again, or remove it if there were no sales."
    try:
        text = line.decode(feed.encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        return (
            f"is not {feed.encoding}: byte 0x{line[error.start]:02x} at position {error.start}. "
            f"Save it as {feed.encoding}, or declare its encoding in the feed {feed.name}."
        )
    return _column_fault(feed, text) if feed.header is True else None


def _column_fault(feed: Feed, header: str) -> str | None:
    try:
        found = [
            name.strip()
            for name in next(csv.reader([header], delimiter=feed.delimiter, quotechar=feed.quote or None), [])
        ]
    except csv.Error as error:
        return f"has no header that can be read ({error}). Is it a CSV file?"
    wanted = dict.fromkeys(feed.columns.values())
    advice = f"Correct the file or the feed {feed.name}."
    if missing := [column for column in wanted if column not in found]:
        shown = ", ".join(name[:40] for name in found[:20])
        return f"lacks the columns {', '.join(missing)} (found: {shown}). {advice}"
    if twice := [column for column in wanted if found.count(column) > 1]:
        return f"names the columns {', '.join(twice)} more than once. {advice}"
    return None


def first_line(path: Path) -> bytes:
    """Give the first line that is not empty, without its end; at most one MiB of it, nothing for an empty file.

    Raises OSError, EOFError or zlib.error if the file is compressed and damaged anywhere.
    """
    with _opened(path) as file:
        line = b""
        while not line.strip() and (line := file.readline(HEADER_BYTES)):
            pass
        if path.suffix == ".gz":
            while file.read(CHUNK_BYTES):
                pass
    return line.strip()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as file:
        yield file
