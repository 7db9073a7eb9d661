"""A first look at a file before a cluster is paid for: can it be this feed's at all?"""

import csv
import gzip
import zlib
from pathlib import Path

from blocks.feeds import Feed

# A header longer than this is no header; reading more of a broken file would only cost memory.
HEADER_BYTES = 1 << 20


def header_fault(feed: Feed, path: Path) -> str | None:
    """Say why a file cannot be read as this feed, or None.

    Looks at the first line alone: empty file, unreadable compression, wrong encoding, missing columns.
    """
    try:
        line = first_line(path)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be unpacked ({error}). Send the file again."
    if not line.strip():
        return "is empty. Send the file again, or remove it if there were no sales."
    try:
        text = line.decode(feed.encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        return (
            f"is not {feed.encoding}: byte 0x{line[error.start]:02x} at position {error.start}. "
            f"Save it as {feed.encoding}, or declare its encoding in the feed {feed.name}."
        )
    if feed.header is not True:
        return None
    found = next(csv.reader([text], delimiter=feed.delimiter, quotechar=feed.quote or None), [])
    missing = [column for column in dict.fromkeys(feed.columns.values()) if column not in found]
    if missing:
        shown = ", ".join(name[:40] for name in found[:20])
        return f"lacks the columns {', '.join(missing)} (found: {shown}). Correct the file or the feed {feed.name}."
    return None


def first_line(path: Path) -> bytes:
    """Read the first line of a file, gzip unpacked; at most one MiB of it."""
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            return file.readline(HEADER_BYTES)
    with path.open("rb") as file:
        return file.readline(HEADER_BYTES)
