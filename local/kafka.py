"""The embedded Kafka: the broker built into librdkafka, made durable by a journal.

    python -m local.kafka --home DIR [--lifeline]

The broker speaks Kafka's protocol on a real port of its own choice (`bootstrap` in ready.json; `--port` has
no effect). It makes topics by use, with 4 partitions each, and keeps them in memory only: at most 5 MB of
message sets, as compressed by their producer, per partition; older ones go, and the log's start moves up.
The journal therefore consumes every partition and writes it to disk, and at the next start everything is
replayed to the same offsets.

What a SIGKILL can lose: messages acknowledged within the last moments (about 20 ms while there is no
backlog), because the broker acknowledges before the journal has read them. A stop by SIGTERM loses nothing.
Not kept over a restart: the port, and consumer groups' offsets.
"""

import logging
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from local.journal import Journal, Record
from local.service import announce, parse_options, service_parser

TOPICS = ("sales_events", "sales_events_dlq")
# Marks what stands in for a message that never reached the journal, so that later ones keep their offsets.
LOST_HEADER = "local.kafka.lost"
DISCOVERY_SECONDS = 0.5
DRAIN_SECONDS = 3
BATCH = 10_000

logger = logging.getLogger(__name__)


class DurableBroker:
    """librdkafka's broker with its journal under `home`; `lost` counts messages that escaped the journal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.journal = Journal(home / "journal")
        # The broker lives as long as this client; the client also replays. Compression makes the 5 MB last.
        self.broker = Producer(
            {
                "test.mock.num.brokers": 1,
                "enable.idempotence": True,
                "compression.type": "zstd",
                "linger.ms": 50,
                "queue.buffering.max.messages": 100_000,
                "log_level": 3,
            }
        )
        brokers = self.broker.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.expected: dict[tuple[str, int], int] = {}
        self.lost = 0
        self.consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "local.kafka.journal",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,
                "fetch.queue.backoff.ms": 10,
                "log_level": 3,
            }
        )

    def replay(self) -> int:
        """Produce the whole journal again; return the number of messages.

        Raises RuntimeError if a partition does not end where its journal ends: the offsets would be wrong.
        """
        for topic, partition in self.journal.partitions():
            end = 0
            for record in self.journal.read(topic, partition):
                for lost in range(end, record.offset):
                    self.lost += 1
                    self._produce(
                        topic, partition, Record(lost, record.timestamp, None, None, [(LOST_HEADER, b"1")])
                    )
                self._produce(topic, partition, record)
                end = record.offset + 1
            self.expected[topic, partition] = end
        self.broker.flush()
        for (topic, partition), end in self.expected.items():
            _, high = self.consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            if high != end:
                raise RuntimeError(f"{topic}/{partition} ends at {high} after replay, its journal at {end}.")
        return sum(self.expected.values())

    def _produce(self, topic: str, partition: int, record: Record) -> None:
        message: dict[str, Any] = {"key": record.key, "value": record.value, "headers": record.headers}
        while True:
            try:
                return self.broker.produce(topic, partition=partition, timestamp=record.timestamp, **message)
            except BufferError:
                self.broker.poll(0.1)

    def announce(self) -> None:
        """Say in ready.json where the broker listens and how many messages are known to be lost."""
        announce(self.home, bootstrap=self.bootstrap, lost=self.lost)

    def follow(self, stop: threading.Event) -> None:
        """Write everything that is produced to the journal until `stop`, then what is still in the broker."""
        discovered = 0.0
        while not stop.is_set():
            if time.monotonic() - discovered > DISCOVERY_SECONDS:
                self.discover()
                discovered = time.monotonic()
            self._write(self.consumer.consume(BATCH, timeout=0.1))
        deadline = time.monotonic() + DRAIN_SECONDS
        self.discover()
        while (behind := self._behind()) and time.monotonic() < deadline:
            self._write(self.consumer.consume(BATCH, timeout=0.1))
        if behind:
            logger.error("Stopped with %d messages not in the journal.", behind)

    def discover(self) -> None:
        """Begin to follow partitions that were not there before, from where their journal ends.

        A broker that is too busy to tell is asked again the next time: its log waits for the journal.
        """
        try:
            self._discover()
        except KafkaException as error:
            logger.warning("Topics were not told: %s", error.args[0].str())

    def _discover(self) -> None:
        assigned = {(part.topic, part.partition) for part in self.consumer.assignment()}
        for topic, metadata in self.consumer.list_topics(timeout=10).topics.items():
            fresh = [number for number in metadata.partitions if (topic, number) not in assigned]
            if fresh:
                starts = [TopicPartition(topic, p, self.expected.setdefault((topic, p), 0)) for p in fresh]
                self.consumer.incremental_assign(starts)
                logger.info("Following %s, %d partitions", topic, len(fresh))

    def _write(self, messages: list[Message]) -> None:
        frames: dict[tuple[str, int], list[Record]] = defaultdict(list)
        for message in messages:
            part = message.topic(), message.partition()
            if error := message.error():
                self._recover(part, error)
                continue
            offset = message.offset()
            if offset != self.expected[part]:
                self._note_gap(part, offset)
            frames[part].append(
                Record(
                    offset, message.timestamp()[1], message.key(), message.value(), message.headers() or []
                )
            )
            self.expected[part] = offset + 1
        for (topic, partition), records in frames.items():
            self.journal.append(topic, partition, records)

    def _recover(self, part: tuple[str, int], error: KafkaError) -> None:
        # The broker dropped messages before the journal read them: go on with the oldest it still has.
        if error.code() != KafkaError._AUTO_OFFSET_RESET:
            logger.error("Journal cannot read %s: %s", part, error)
            return
        low, _ = self.consumer.get_watermark_offsets(TopicPartition(*part), timeout=10)
        self.consumer.incremental_unassign([TopicPartition(*part)])
        self.consumer.incremental_assign([TopicPartition(*part, low)])

    def _note_gap(self, part: tuple[str, int], offset: int) -> None:
        lost = offset - self.expected[part]
        self.lost += lost
        logger.error(
            "%s/%d: %d messages before offset %d left the broker before the journal read them. "
            "They are lost after a restart; produce more slowly.",
            *(*part, lost, offset),
        )
        self.announce()

    def _behind(self) -> int:
        ends = {
            part: self.consumer.get_watermark_offsets(TopicPartition(*part), timeout=10)[1]
            for part in self.expected
        }
        return sum(max(0, end - self.expected[part]) for part, end in ends.items())


def main() -> None:
    """Start, replay, say where, and keep the journal until asked to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = parse_options(service_parser(__doc__ or ""))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    broker = DurableBroker(options.home)
    replayed = broker.replay()
    for topic in TOPICS:
        broker.broker.list_topics(topic, timeout=10)
    broker.discover()
    logger.info("Replayed %d messages; listening on %s", replayed, broker.bootstrap)
    broker.announce()
    broker.follow(stop)


if __name__ == "__main__":
    main()
