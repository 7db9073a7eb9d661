"""What a batch must come to, worked out a second time without Spark: plain Python over bytes, line by line."""

import gzip
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from blocks.feeds import Contract, Feed, Rule

Fate = tuple[str, str]  # rule ids and the raw line of a rejected one
TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,6})?(Z|[+-](?:0\d|1[0-8]):[0-5]\d)",
    re.ASCII | re.IGNORECASE,
)


@dataclass
class Expected:
    """Valid rows by (file, line), rejected ones likewise, and by file the rows read and the duplicates dropped."""

    valid: dict[tuple[str, int], dict[str, Any]]
    rejected: dict[tuple[str, int], Fate]
    read: Counter[str]
    dropped: Counter[str]


def expect(feed: Feed, contract: Contract, files: dict[str, bytes]) -> Expected:
    """Judge every line of the files (those whose name ends in .gz are packed), in order of name and line."""
    found = Expected({}, {}, Counter(), Counter())
    seen: set[tuple[Any, ...]] = set()
    for name, content in sorted(files.items()):
        header = None if feed.header is True else list(feed.header)
        plain = gzip.decompress(content) if name.endswith(".gz") else content
        # Hadoop takes a mark at a file's very start for no part of it.
        for number, line in enumerate(physical_lines(plain.removeprefix(b"\xef\xbb\xbf")), 1):
            if not line:
                continue
            if header is None:
                text = line.decode(feed.encoding).removeprefix("\ufeff")
                header = [column.strip() for column in fields_of(text, feed) or []]
                continue
            found.read[name] += 1
            judge(feed, contract, header, line, (name, number), found, seen)
    return found


def physical_lines(content: bytes) -> list[bytes]:
    """Split at every CR LF, LF and CR."""
    return re.split(rb"\r\n|\n|\r", content)


def judge(feed, contract, header, line, place, found, seen) -> None:
    text = decoded(line, feed.encoding)
    if text is None:
        found.rejected[place] = ("encoding_invalid", line.decode("iso-8859-1"))
        return
    fields = fields_of(text.removeprefix("\ufeff"), feed)
    if fields is None or len(fields) != len(header):
        found.rejected[place] = ("malformed_row", text)
        return
    row, broken = read_row(feed, contract, dict(zip(header, fields, strict=True)))
    if broken:
        found.rejected[place] = (",".join(broken), text)
        return
    content = tuple(row[column] for column in contract.columns)
    if content in seen and feed.duplicates == "drop":
        found.dropped[place[0]] += 1
    elif content in seen and feed.duplicates == "quarantine":
        found.rejected[place] = ("duplicate_row", text)
    else:
        found.valid[place] = row
    seen.add(content)


def decoded(line: bytes, encoding: str) -> str | None:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return None


def fields_of(line: str, feed: Feed) -> list[str] | None:
    """Split a line as RFC 4180 has it, a character at a time; None if its quotes are broken."""
    if not feed.quote:
        return line.split(feed.delimiter)
    fields, rest = [], line
    while True:
        if rest.startswith(feed.quote):
            field, rest = "", rest[1:]
            while True:
                inside, quote, rest = rest.partition(feed.quote)
                field += inside
                if not quote:
                    return None
                if not rest.startswith(feed.quote):
                    break
                field, rest = field + feed.quote, rest[1:]
            if rest and not rest.startswith(feed.delimiter):
                return None
            more, rest = rest[:1], rest[1:]
        else:
            field, more, rest = rest.partition(feed.delimiter)
            if feed.quote in field:
                return None
        fields.append(field)
        if not more:
            return fields


def read_row(feed: Feed, contract: Contract, fields: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Give the contract's values of a line and the rules it breaks, in the contract's order."""
    texts = {column: fields[source].strip(" ") or None for column, source in feed.columns.items()}
    texts |= feed.constants
    row, broken = {}, []
    for name, column in contract.columns.items():
        text = texts.get(name)
        row[name] = None if text is None else value_of(text, column.type, feed)
        if text is None and column.required:
            broken.append(f"{name}_missing")
        if text is not None and row[name] is None:
            broken.append(f"{name}_invalid")
    for rule in (*contract.rules, *feed.rules):
        if row[rule.column] is not None and not holds(rule, row[rule.column]):
            broken.append(rule.id)
    return row, broken


def value_of(text: str, kind: str, feed: Feed) -> Any:
    if kind == "string":
        return text
    if kind == "timestamp":
        return time_of(text)
    if kind == "decimal(18,4)":
        if not re.fullmatch(
            rf"[+-]?(\d+(\{feed.decimal}\d{{0,4}})?|\{feed.decimal}\d{{1,4}})", text, re.ASCII
        ):
            return None
        number = Decimal(text.replace(feed.decimal, "."))
        return number if abs(number) < Decimal(10) ** 14 else None
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        return None
    most = 2**31 if kind == "integer" else 2**63
    return int(text) if -most <= int(text) < most else None


def time_of(text: str) -> datetime | None:
    match = TIME.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        local = datetime(
            *map(int, (year, month, day, hour, minute, second)),
            int((fraction or "")[1:].ljust(6, "0")),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    if zone in "Zz":
        return local.replace(tzinfo=None)
    shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
    if shift > timedelta(hours=18):
        return None
    return (local - shift if zone[0] == "+" else local + shift).replace(tzinfo=None)


def holds(rule: Rule, value: Any) -> bool:
    wanted = [
        comparable(one, value) for one in (rule.value if isinstance(rule.value, list) else [rule.value])
    ]
    return {
        "not_equal": lambda: value != wanted[0],
        "at_least": lambda: value >= wanted[0],
        "greater_than": lambda: value > wanted[0],
        "at_most": lambda: value <= wanted[0],
        "less_than": lambda: value < wanted[0],
        "between": lambda: wanted[0] <= value <= wanted[-1],
        "one_of": lambda: value in wanted,
    }[rule.check]()


def comparable(wanted: Any, value: Any) -> Any:
    if isinstance(value, datetime):
        return datetime.fromisoformat(str(wanted)).astimezone(UTC).replace(tzinfo=None)
    return Decimal(str(wanted)) if isinstance(value, int | Decimal) else wanted
