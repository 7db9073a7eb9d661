"""The producer: events onto the topic, each checked, counted, and confirmed by the cluster."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from blocks.errors import MayHeal
from blocks.kafka import KafkaCluster
from blocks.names import DEAD_LETTER_TOPIC, TOPIC
from streaming.client import WAIT_SECONDS
from streaming.delivery import Delivery
from streaming.message import Message, dead_letter
from streaming.report import PublishReport
from streaming.schema import SCHEMA_VERSION, event_fault
from streaming.spill import Spill

CHECK_EVENTS = 256
PROGRESS_SECONDS = 0.25


@dataclass(frozen=True)
class Rejected:
    """An event whose source knows already that it is wrong; it goes to the dead letters, whatever the schema says."""

    event: dict[str, Any] | bytes
    reason: str


@dataclass(frozen=True)
class Checkpoint:
    """Among events: call `reached` when all events before are confirmed or durable."""

    reached: Callable[[], None]


# None: nothing at the moment. A source that waits says so several times a second.
Event = dict[str, Any] | bytes | Rejected | Checkpoint | None


def publish(
    cluster: KafkaCluster,
    events: Iterable[Event],
    topic: str = TOPIC,
    *,
    rate: float | None = None,
    validate: bool = True,
    on_progress: Callable[[PublishReport], None] | None = None,
    dead_letter_topic: str = DEAD_LETTER_TOPIC,
    spill: Path | None = None,
    patience: float = 60,
    stop: Callable[[], bool] = lambda: False,
) -> PublishReport:
    """Send every event, keyed by its order, at most `rate` a second; wait until the cluster has them all.

    An event that breaks the schema goes to the dead letters with the reason in a header; `validate=False`
    sends it as it is. What waits in the folder `spill` is sent first; what the cluster does not confirm within
    `patience` seconds is kept there. `on_progress` is called a few times a second; once `stop` says so, no more
    events are taken. Raises MayHeal, with the counts, if the cluster cannot be reached or has not taken all.
    """
    kept = Spill(spill) if spill else None
    with Delivery(cluster, topic, dead_letter_topic, spill=kept, patience=patience, stop=stop) as delivery:
        report, watch = delivery.report, _Watch(delivery, rate, on_progress)
        delivery.send_spilled()
        for event in events:
            if stop():
                break
            if event is None:
                watch.look()
            elif isinstance(event, Checkpoint):
                delivery.settle()
                event.reached()
                watch.look()
            else:
                report.taken += 1
                _send(delivery, topic, event, validate)
                if rate or report.taken % CHECK_EVENTS == 0:
                    watch.keep_pace(stop)
        delivery.settle()
        delivery.send_spilled()
    watch.tell()
    if report.waiting and not stop():
        raise MayHeal(
            f"{report.waiting} events wait in {spill} because the cluster does not take them ({report.first_error}). "
            "Nothing is lost: the next start sends them first."
        )
    return report


class _Watch:
    """Looks now and then after the delivery, tells of the progress and keeps the rate."""

    def __init__(
        self, delivery: Delivery, rate: float | None, on_progress: Callable[[PublishReport], None] | None
    ) -> None:
        self.delivery, self.rate, self.on_progress = delivery, rate, on_progress
        self.began = self.told = time.monotonic()

    def keep_pace(self, stop: Callable[[], bool]) -> None:
        """Look, and wait, if events come faster than the rate, until the next one is due."""
        taken = self.delivery.report.taken
        self.look()
        while self.rate and not stop() and (ahead := taken / self.rate - self._seconds()) > 0:
            self.look(min(ahead, WAIT_SECONDS))

    def look(self, seconds: float = 0) -> None:
        """Hear what was confirmed; tell of the progress if it is time to."""
        self.delivery.check(seconds)
        if time.monotonic() - self.told >= PROGRESS_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Tell of the progress."""
        self.told = time.monotonic()
        self.delivery.report.seconds = self._seconds()
        if self.on_progress:
            self.on_progress(self.delivery.report)

    def _seconds(self) -> float:
        return time.monotonic() - self.began


def _send(delivery: Delivery, topic: str, event: dict[str, Any] | bytes | Rejected, validate: bool) -> None:
    told = event.event if isinstance(event, Rejected) else event
    reason = event.reason if isinstance(event, Rejected) else event_fault(event) if validate else None
    message = to_message(told, topic)
    delivery.send(message if reason is None else dead_letter(message, delivery.topics[1], reason))


def to_message(event: dict[str, Any] | bytes, topic: str = TOPIC) -> Message:
    """Make the message of an event: JSON, keyed by its order, with schema version, source and trace id as headers.

    Bytes stay as they are; those that are no JSON object have neither key nor headers.
    """
    value = event if isinstance(event, bytes) else _written(event)
    told = event if isinstance(event, dict) else _read(event)
    if not told:
        return Message(topic, None, value, [])
    key = told.get("order_id")
    version, source = _origin(str(told.get("schema_version", SCHEMA_VERSION)), str(told.get("source")))
    trace = str(told.get("event_id")).replace("-", "").encode(errors="replace")
    headers = [version, source, ("trace_id", trace)]
    return Message(topic, key if isinstance(key, str) else None, value, headers)


@lru_cache
def _origin(version: str, source: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    return ("schema_version", version.encode(errors="replace")), ("source", source.encode(errors="replace"))


def _written(event: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError:  # integers beyond 64 bits, halves of surrogate pairs
        return json.dumps(event, separators=(",", ":")).encode()


def _read(value: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(value)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
