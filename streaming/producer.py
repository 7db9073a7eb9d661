"""The producer: events onto the topic, checked, counted, delivered once; and the replay of a CSV."""

import csv
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from blocks.errors import MayHeal
from blocks.kafka import KafkaCluster
from blocks.names import DEAD_LETTER_TOPIC, TOPIC
from streaming.generator import sale_event
from streaming.schema import SCHEMA_VERSION, event_fault

Event = dict[str, Any] | bytes

REASON_HEADER = "error.reason"
CONNECT_TIMEOUT_SECONDS = 10
PROGRESS_EVERY = 5_000
PRODUCER_CONFIG: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "zstd",
    "linger.ms": 20,
    "queue.buffering.max.messages": 50_000,
    "delivery.timeout.ms": 60_000,
}


@dataclass
class PublishReport:
    """What became of the events: `produced` to the topic, `rejected` to the dead letters, `failed` neither.

    `offsets` has the first and last offset written, by partition of the topic.
    """

    produced: int = 0
    rejected: int = 0
    failed: int = 0
    seconds: float = 0.0
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    first_error: str | None = None

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """Count one delivery report of the topic (the callback of confluent-kafka)."""
        if error:
            self._failed(error)
            return
        self.produced += 1
        offset, partition = message.offset(), message.partition()
        first, last = self.offsets.get(partition, (offset, offset))
        self.offsets[partition] = (min(first, offset), max(last, offset))

    def dead_lettered(self, error: KafkaError | None, _message: Message) -> None:
        """Count one delivery report of the dead-letter topic."""
        if error:
            self._failed(error)
        else:
            self.rejected += 1

    def _failed(self, error: KafkaError) -> None:
        self.failed += 1
        self.first_error = self.first_error or error.str()


def publish(
    cluster: KafkaCluster,
    events: Iterable[Event],
    topic: str = TOPIC,
    *,
    rate: float | None = None,
    validate: bool = True,
    on_progress: Callable[[int], None] | None = None,
    dead_letter_topic: str = DEAD_LETTER_TOPIC,
) -> PublishReport:
    """Send every event, keyed by its order, at most `rate` a second; wait until the cluster has them all.

    An event that breaks the schema goes to the dead letters with the reason in a header; `validate=False`
    sends it as it is. `on_progress` is called now and then with the number of events taken so far.
    Raises MayHeal, with the counts, if the cluster cannot be reached or a delivery failed.
    """
    producer = Producer(cluster.client_config() | PRODUCER_CONFIG)
    _require_reachable(producer, cluster, topic)
    report, began, taken = PublishReport(), time.monotonic(), 0
    for taken, event in enumerate(events, start=1):
        reason = event_fault(event) if validate else None
        if reason:
            headers = [*_headers(event), (REASON_HEADER, reason.encode())]
            _send(producer, dead_letter_topic, event, headers, report.dead_lettered)
        else:
            _send(producer, topic, event, _headers(event), report.delivered)
        if on_progress and taken % PROGRESS_EVERY == 0:
            on_progress(taken)
        while rate and (ahead := taken / rate - (time.monotonic() - began)) > 0:
            producer.poll(ahead)
    producer.flush()
    report.seconds = time.monotonic() - began
    if on_progress:
        on_progress(taken)
    if report.failed:
        raise MayHeal(
            f"{report.failed} of {taken} events could not be delivered to {topic} ({report.first_error}); "
            f"{report.produced} were. Sending all of them again is safe: duplicates are removed by event_id."
        )
    return report


def _require_reachable(producer: Producer, cluster: KafkaCluster, topic: str) -> None:
    try:
        producer.list_topics(topic, timeout=CONNECT_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise MayHeal(
            f"Kafka at {cluster.bootstrap_servers} cannot be reached: {error.args[0].str()}"
        ) from error


def _send(
    producer: Producer, topic: str, event: Event, headers: list[Any], on_delivery: Callable[..., None]
) -> None:
    value = (
        event
        if isinstance(event, bytes)
        else json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    )
    key = None if isinstance(event, bytes) else event.get("order_id")
    while True:
        try:
            producer.produce(topic, value, key=key, headers=headers, on_delivery=on_delivery)
            break
        except BufferError:  # the queue is full: let the cluster catch up
            producer.poll(0.1)
    producer.poll(0)


def _headers(event: Event) -> list[tuple[str, bytes]]:
    if isinstance(event, bytes):
        return []
    return [
        ("schema_version", str(event.get("schema_version", SCHEMA_VERSION)).encode()),
        ("source", str(event.get("source")).encode()),
        ("trace_id", str(event.get("event_id")).replace("-", "").encode()),
    ]


def csv_events(path: Path, source: str) -> Iterator[dict[str, Any]]:
    """Read a CSV with the contract's columns (as the feed `store_sales`) as events of `source`.

    The event's id follows from its content, so a replay of the same file sends the same events. A value that
    is no number stays text, and surplus columns stay too, for the schema to reject.
    """
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, restkey="surplus_columns"):
            line: dict[str, Any] = {"source": source} | {name: text or None for name, text in row.items()}
            line["line_number"] = _number(line.get("line_number"), int)
            line["quantity"] = _number(line.get("quantity"), int)
            line["unit_price"] = _number(line.get("unit_price"), float)
            yield sale_event(line, uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(line, sort_keys=True)))


def _number(text: str | None, kind: type[int] | type[float]) -> float | str | None:
    try:
        return kind(text) if text else None
    except ValueError:
        return text


def at_recorded_speed(events: Iterable[dict[str, Any]], speed: float) -> Iterator[dict[str, Any]]:
    """Pass events on when their `updated_at` is due; at `speed` 60 an hour takes a minute.

    An event whose time cannot be read, or is earlier than one before it, is passed on at once.
    """
    began, first = time.monotonic(), None
    for event in events:
        with suppress(ValueError, TypeError):
            told = datetime.fromisoformat(event["updated_at"])
            first = first or told
            time.sleep(max(0.0, (told - first).total_seconds() / speed - (time.monotonic() - began)))
        yield event


def replay(
    cluster: KafkaCluster, path: Path, source: str, *, speed: float | None = None, **how: Any
) -> PublishReport:
    """Publish a CSV file's rows, at `speed` times their recorded speed or as fast as possible.

    `how` goes to `publish`, which says what is returned and raised.
    """
    events = csv_events(path, source)
    return publish(cluster, at_recorded_speed(events, speed) if speed else events, **how)
