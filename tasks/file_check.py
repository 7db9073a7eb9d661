"""A first look at a file before a cluster is paid for: can it be this feed's at all?"""

import csv
import re
from pathlib import Path

from blocks.feeds import Feed
from tasks.unpacking import Unreadable, read_pieces, unpack

# A header longer than this is no header; reading more of a broken file would only cost memory.
HEADER_BYTES = 1 << 20
END_OF_LINE = re.compile(rb"[\r\n]")  # as Spark sees it
TOLD = 3


def nothing_to_load(feed: Feed, path: Path) -> str | None:
    """Say, by name, why nothing in a file as it arrives can be loaded; None if something can."""
    faults = []
    for found in unpack(path, path.name, feed.encoding):
        fault = found.fault or header_fault(feed, found.path)
        if not fault:
            return None
        faults.append(f"{found.name} {fault}")
    return " ".join(faults[:TOLD])


def header_fault(feed: Feed, path: Path) -> str | None:
    """Say why a file, made readable for Spark (see tasks/unpacking.py), cannot be read as this feed, or None.

    Looks at the first line that is not empty: nothing in it, too much, wrong encoding, missing or doubled
    columns. A .gz is unpacked to its end: what Spark could not read would stop the batches of every other file
    too.
    """
    try:
        line = first_line(path)
    except Unreadable as fault:
        return str(fault)
    if not line:
        return "is empty. Send the file again, or remove it if there were no sales."
    encoding = feed.encoding.replace("utf-16", "utf-8")  # as unpacking leaves it
    try:
        text = line.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        return (
            f"is not {encoding}: byte 0x{line[error.start]:02x} at position {error.start}. "
            f"Save it as {encoding}, or declare its encoding in the feed {feed.name}."
        )
    # Such text passes for any other encoding.
    if text.count("\0") > len(text) // 4:
        return (
            "holds zero bytes as UTF-16 and UTF-32 do. "
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
    advice = f"Correct the file or the feed {feed.name}."
    if missing := [column for column in feed.file_columns if column not in found]:
        shown = ", ".join(name[:40] for name in found[:20])
        return f"lacks the columns {', '.join(missing)} (found: {shown}). {advice}"
    if twice := [column for column in feed.file_columns if found.count(column) > 1]:
        return f"names the columns {', '.join(twice)} more than once. {advice}"
    return None


def first_line(path: Path) -> bytes:
    """Give the first line that is not empty, without its end; nothing for a file without one.

    Raises Unreadable if it is longer than a header can be, or if the file is compressed and damaged anywhere.
    """
    pieces, start = read_pieces(path), b""
    for piece in pieces:
        start = (start + piece).lstrip(b"\r\n")
        if len(start) > HEADER_BYTES or END_OF_LINE.search(start):
            break
    if path.suffix == ".gz":
        for _ in pieces:
            pass
    line = END_OF_LINE.split(start, maxsplit=1)[0]
    if len(line) > HEADER_BYTES:
        raise Unreadable(f"begins with a line of more than {HEADER_BYTES:,} bytes. Is it a CSV file?")
    return line
