"""Dead letters: what could not be taken in and why, and lines in a file for whoever mends them.

A letter is named by the event it is about, `topic/partition/offset`: Kafka Connect may write it more than once
after a crash, and its copies are one letter. What the producer refused never was on the topic; such a letter
is named by its own place on the dead-letter topic.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from blocks import names
from blocks.errors import WillNotHeal
from blocks.kafka import KafkaCluster
from streaming.message import REASON_HEADER, SIZE_HEADER
from streaming.schema import event_fault
from tasks.stream_audit import dead_letters

CONNECT_HEADERS = "__connect.errors."
REASONS_HEADERS = (
    REASON_HEADER,
    f"{CONNECT_HEADERS}exception.message",
    f"{CONNECT_HEADERS}exception.class.name",
)
UNKNOWN = "unknown"
FAULTS_SHOWN = 10

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Letter:
    """One dead letter; `partition` and `offset` are its place on the dead-letter topic, `at` is UTC."""

    name: str
    partition: int
    offset: int
    at: datetime
    writer: str
    reason: str
    source: str
    key: bytes | None
    value: bytes
    headers: Headers = field(repr=False)
    whole: bool = True

    @property
    def fault(self) -> str | None:
        """Say what keeps it from being sent as it is, or None."""
        return event_fault(self.value) if self.whole else "only its beginning was kept"


@dataclass(frozen=True)
class Selection:
    """Which letters are meant; None means all. Offsets are those on the dead-letter topic, both included."""

    reason: str | None = None
    source: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None

    def __contains__(self, letter: Letter) -> bool:
        return (
            (self.reason is None or self.reason.casefold() in letter.reason.casefold())
            and self.source in (None, letter.source)
            and self.partition in (None, letter.partition)
            and (self.first_offset is None or letter.offset >= self.first_offset)
            and (self.last_offset is None or letter.offset <= self.last_offset)
        )


@dataclass
class LetterGroup:
    """Letters of one kind of reason and one source: how many, how many of them were sent again, from when."""

    reason: str
    source: str
    writer: str
    oldest: datetime
    newest: datetime
    letters: int = 0
    replayed: int = 0
    examples: list[Letter] = field(default_factory=list)


def read_letters(cluster: KafkaCluster, selection: Selection | None = None) -> Iterator[Letter]:
    """Read the dead letters that are there now, each once. Raises MayHeal if Kafka does not answer."""
    seen: set[str] = set()
    for message in dead_letters(cluster, {}):
        letter = to_letter(message)
        if letter.name not in seen:
            seen.add(letter.name)
            if selection is None or letter in selection:
                yield letter


def to_letter(message: Message) -> Letter:
    """Read a message of the dead-letter topic, whoever wrote it: Kafka Connect or the producer."""
    headers: Headers = [(name, value or b"") for name, value in message.headers() or []]
    told = {name: value.decode(errors="replace") for name, value in headers}
    from_connect = f"{CONNECT_HEADERS}topic" in told
    where = [told.get(f"{CONNECT_HEADERS}{part}", "") for part in ("topic", "partition", "offset")]
    own = [names.DEAD_LETTER_TOPIC, str(message.partition()), str(message.offset())]
    value = message.value() or b""
    return Letter(
        name="/".join(where if from_connect else own),
        partition=message.partition(),
        offset=message.offset(),
        at=datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
        writer=told.get(f"{CONNECT_HEADERS}connector.name", UNKNOWN) if from_connect else "producer",
        reason=next((told[name] for name in REASONS_HEADERS if told.get(name)), UNKNOWN),
        source=told.get("source") or _source_told(value),
        key=message.key(),
        value=value,
        headers=headers,
        whole=SIZE_HEADER not in told,
    )


def _source_told(value: bytes) -> str:
    try:
        return str(json.loads(value)["source"])
    except (ValueError, KeyError, TypeError):
        return UNKNOWN


def group_letters(letters: Iterable[Letter], replayed: set[str], examples: int) -> list[LetterGroup]:
    """Count letters by kind of reason and source, the most frequent first, each group with its first examples.

    Reasons that differ by a number or by what they quote are of one kind.
    """
    groups: dict[tuple[str, str, str], LetterGroup] = {}
    for letter in letters:
        key = _kind(letter.reason), letter.source, letter.writer
        group = groups.setdefault(key, LetterGroup(*key, letter.at, letter.at))
        group.letters += 1
        group.replayed += letter.name in replayed
        group.oldest, group.newest = min(group.oldest, letter.at), max(group.newest, letter.at)
        if len(group.examples) < examples:
            group.examples.append(letter)
    return sorted(groups.values(), key=lambda group: (-group.letters, group.reason, group.source))


def _kind(reason: str) -> str:
    return re.sub(r"\b0x[0-9a-f]+|\d+", "#", re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", reason))


def to_line(letter: Letter) -> str:
    """Write a letter as a JSON line to be mended: its value is `event`, or `text` if it is no JSON object."""
    told: dict[str, Any] = {
        "letter": letter.name,
        "reason": letter.reason,
        "fault": letter.fault,
        "source": letter.source,
    }
    try:
        event = json.loads(letter.value)
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict):
        told["event"] = event
    else:
        told["text"] = letter.value.decode(errors="replace")
    return json.dumps(told, ensure_ascii=False)


def from_line(line: str) -> tuple[str, bytes]:
    """Read a line that was mended: the letter's name and the event's value.

    Raises ValueError, which says what is wrong, if it is no such line or the event still breaks the schema.
    """
    told = json.loads(line)
    if not isinstance(told, dict) or not isinstance(told.get("letter"), str):
        raise ValueError("it names no letter")  # noqa: TRY004 (one kind for whatever is wrong with a line)
    if "event" in told:
        value = json.dumps(told["event"], ensure_ascii=False, separators=(",", ":")).encode()
    else:
        value = str(told.get("text", "")).encode(errors="replace")
    if fault := event_fault(value):
        raise ValueError(fault)
    return told["letter"], value


def export_letters(letters: Iterable[Letter], file: Path) -> int:
    """Write letters as lines to a new file; give their number. Raises WillNotHeal if the file is there already."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            return sum(1 for letter in letters if stream.write(to_line(letter) + "\n"))
    except FileExistsError:
        raise WillNotHeal(f"{file} exists; what was mended in it would be lost. Name another file.") from None


def read_mended(file: Path) -> dict[str, bytes]:
    """Read mended lines: the events' values by the letters' names.

    Raises WillNotHeal, naming the lines, if one cannot be sent: then none is.
    """
    mended: dict[str, bytes] = {}
    faults = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            name, value = from_line(line)
            if name in mended:
                raise ValueError(f"{name} is there twice")  # noqa: TRY301
            mended[name] = value
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        told = "; ".join(faults[:FAULTS_SHOWN]) + ("; …" if len(faults) > FAULTS_SHOWN else "")
        raise WillNotHeal(
            f"{len(faults)} lines of {file} cannot be sent, so none was ({told}).", "Mend them."
        )
    return mended
