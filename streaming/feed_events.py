"""A feed's CSV file replayed as events: what the batch job would load, told line by line on the topic.

A line has the same key (source, order_id, line_number) and the same values whether it comes by batch or by stream.
What the job would quarantine is rejected here with the rules it breaks. An exact duplicate has the event_id of its
first, by which staging removes it.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from blocks.feeds import Contract, Feed, Rule, load_contract
from streaming.datetime_patterns import time_reader
from streaming.feed_lines import BrokenLine, Texts, feed_lines
from streaming.generator import sale_event
from streaming.producer import Event, Rejected
from streaming.xxhash64 import content_number

IDLE_SECONDS = 0.2
INTEGER_BITS = {"integer": 32, "long": 64}
CHECKS: dict[str, Callable[[Any, list[Any]], bool]] = {
    "not_equal": lambda value, wanted: value != wanted[0],
    "at_least": lambda value, wanted: value >= wanted[0],
    "greater_than": lambda value, wanted: value > wanted[0],
    "at_most": lambda value, wanted: value <= wanted[0],
    "less_than": lambda value, wanted: value < wanted[0],
    "between": lambda value, wanted: wanted[0] <= value <= wanted[1],
    "one_of": lambda value, wanted: value in wanted,
}


def feed_events(feed: Feed, path: Path, contract: Contract | None = None) -> Iterator[Event]:
    """Read a file of a feed as events; a line that breaks a rule is a Rejected one, as it came if it cannot be split.

    The event's id follows from its content, so a replay of the same file sends the same events.
    Raises WillNotHeal if the file is not of this feed, or the feed's times cannot be read without Spark.
    """
    judge = _Judge(feed, contract or load_contract())
    for line in feed_lines(feed, path):
        yield Rejected(line.raw, line.rule) if isinstance(line, BrokenLine) else judge.event(line)


class _Judge:
    """Makes a line's texts into an event of the contract's columns."""

    def __init__(self, feed: Feed, contract: Contract) -> None:
        self.feed, self.contract = feed, contract
        self.kinds = {name: column.type for name, column in contract.columns.items()}
        self.key_columns = feed.key_columns
        self.read_time = time_reader(feed.timestamps.formats, feed.timestamps.time_zone)
        self.numbers = {kind: _number_form(kind, feed) for kind in set(self.kinds.values())}
        self.rules = [
            (rule, _wanted(rule, self.kinds[rule.column])) for rule in (*contract.rules, *feed.rules)
        ]

    def event(self, texts: Texts) -> dict[str, Any] | Rejected:
        given = {name: texts[column] for name, column in self.feed.columns.items()} | self.feed.constants
        values: dict[str, Any] = {}
        broken = []
        for name, column in self.contract.columns.items():
            text = given.get(name)
            values[name] = None if text is None else self._value(text, column.type)
            if text is None and column.required and name in given:
                broken.append(f"{name}_missing")
            if text is not None and values[name] is None:
                broken.append(f"{name}_invalid")
        if self.feed.line_number == "content":
            values["line_number"] = content_number(texts[column] for column in self.key_columns)
        broken += [
            rule.id
            for rule, wanted in self.rules
            if values[rule.column] is not None and not CHECKS[rule.check](values[rule.column], wanted)
        ]
        line = {name: given.get(name) if value is None else _told(value) for name, value in values.items()}
        event = sale_event(line, uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(line, sort_keys=True)))
        return Rejected(event, ",".join(broken)) if broken else event

    def _value(self, text: str, kind: str) -> Any:
        """Read a text as its type; None if it is not exactly that."""
        if kind == "string":
            return text
        if kind == "timestamp":
            return self.read_time(text)
        if not self.numbers[kind].fullmatch(text):
            return None
        plain = text.replace(self.feed.thousands, "") if self.feed.thousands else text
        number = Decimal(plain.replace(self.feed.decimal, "."))
        if bits := INTEGER_BITS.get(kind):
            return int(number) if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None
        # JSON's readers keep what a double keeps.
        return number if abs(number) < 10**14 and Decimal(repr(float(number))) == number else None


def _number_form(kind: str, feed: Feed) -> re.Pattern[str]:
    point, thousands = re.escape(feed.decimal), re.escape(feed.thousands)
    whole = rf"(?:\d{{1,3}}(?:{thousands}\d{{3}})++|\d*+)" if thousands else r"\d*+"
    scale = re.fullmatch(r"decimal\(\d+,(\d+)\)", kind)
    fraction = rf"(?:{point}\d{{0,{scale[1]}}})?" if scale else ""
    return re.compile(rf"[+-]?(?={point}?\d){whole}{fraction}", re.ASCII)


def _wanted(rule: Rule, kind: str) -> list[Any]:
    values = rule.value if isinstance(rule.value, list) else [rule.value]
    if kind == "timestamp":
        return [datetime.fromisoformat(str(value)).astimezone(UTC).replace(tzinfo=None) for value in values]
    return [str(value) if kind == "string" else Decimal(str(value)) for value in values]


def _told(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    return float(value) if isinstance(value, Decimal) else value


def at_recorded_speed(events: Iterable[Event], speed: float) -> Iterator[Event]:
    """Pass events on when their `updated_at` is due; at `speed` 60 an hour takes a minute. None says: not yet.

    An event whose time cannot be read, or is earlier than one before it, is passed on at once.
    """
    began, first = time.monotonic(), None
    for event in events:
        with suppress(ValueError, TypeError, KeyError):
            told = datetime.fromisoformat(event["updated_at"])  # type: ignore[index,call-overload]
            first = first or told
            due = (told - first).total_seconds() / speed
            while (ahead := due - (time.monotonic() - began)) > 0:
                time.sleep(min(ahead, IDLE_SECONDS))
                yield None
        yield event
