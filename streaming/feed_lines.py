"""The lines of a feed's CSV file, split into texts by column as the batch job splits them.

What `spark_jobs/sales_batch.py` does to every line is done here without Spark: physical lines end with CR, LF or
both, an empty line is none, a line that is no text or has broken quotes or too few or too many fields is told
apart, fields lose the spaces around them, and what is empty is missing. Memory holds one line.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from blocks.csv_sample import Dialect
from blocks.errors import WillNotHeal
from blocks.feeds import Feed

Texts = dict[str, str | None]


@dataclass(frozen=True)
class BrokenLine:
    """A line that cannot be split: the rule it breaks, and its bytes."""

    rule: str
    raw: bytes


def feed_lines(feed: Feed, path: Path) -> Iterator[Texts | BrokenLine]:
    """Yield the texts of every data line of a file (plain or .gz), by column of the feed, derived ones included.

    Raises WillNotHeal if the file cannot be read as this feed.
    """
    dialect, wanted = Dialect(feed.delimiter, feed.quote), frozenset(feed.file_columns)
    header = None if feed.header is True else list(feed.header)
    # Bytes that are no text become lone surrogates, from which they can be had back.
    errors = "strict" if feed.encoding == "utf-16" else "surrogateescape"
    opened: Callable[..., IO[str]] = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding=feed.encoding, errors=errors, newline=None) as file:
            for line in file:
                text = line.removesuffix("\n")
                if not text:
                    continue
                if header is None:
                    header = _checked_header(feed, path, dialect.split(text.removeprefix("\ufeff")))
                    continue
                yield _read(feed, path, header, wanted, dialect, text)
    except (OSError, EOFError, UnicodeError, zlib.error) as error:  # a torn .gz; half a character of UTF-16
        raise WillNotHeal(f"{path.name} cannot be read: {error}") from error


def _checked_header(feed: Feed, path: Path, fields: list[str] | None) -> list[str]:
    header = [field.strip() for field in fields or []]
    if missing := [column for column in feed.file_columns if column not in header]:
        raise WillNotHeal(
            f"{path.name}: the header lacks {', '.join(missing)}, which the feed {feed.name} maps; "
            f"found {', '.join(column[:40] for column in header[:20])}"
        )
    if twice := [column for column in feed.file_columns if header.count(column) > 1]:
        raise WillNotHeal(f"{path.name}: the header names {', '.join(twice)} more than once")
    return header


def _read(
    feed: Feed, path: Path, header: list[str], wanted: frozenset[str], dialect: Dialect, text: str
) -> Texts | BrokenLine:
    encoding = feed.encoding.replace("utf-16", "utf-8")  # which has no byte order mark in every line
    try:
        raw = text.encode(encoding)
    except UnicodeEncodeError:  # a lone surrogate
        return BrokenLine("encoding_invalid", text.encode(encoding, errors="surrogateescape"))
    fields = dialect.split(text.removeprefix("\ufeff"))
    if fields is None or len(fields) != len(header):
        return BrokenLine("malformed_row", raw)
    texts: Texts = {
        name: field.strip(" ") or None for name, field in zip(header, fields, strict=True) if name in wanted
    }
    return texts | _derived(feed, path.name, texts)


def _derived(feed: Feed, file_name: str, texts: Texts) -> Texts:
    made: Texts = {}
    for name, how in feed.derived.items():
        parts = [(texts | made)[part] for part in how.parts]
        if how.file_name:
            match = re.search(how.file_name, file_name)
            text = match[1] if match else None
        elif None in parts:
            text = None
        elif how.substring:
            text = str(parts[0])[how.start - 1 : how.start - 1 + how.length]
        else:
            text = how.separator.join(str(part) for part in parts)
        made[name] = (text or "").strip(" ") or None
    return made
