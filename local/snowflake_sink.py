"""The sink task of the embedded Kafka Connect: events into RAW.SALES_RAW, each exactly once.

After whatever fault, the task opens its channels again and goes on from their offset tokens, which tell what
Snowflake has. The consumer group's offsets follow the tokens, so that ordinary tools can read the lag.
Dead letters are at least once, as Kafka Connect's are: a kill between dead letter and token repeats it.

Task states are Kafka Connect's: UNASSIGNED until it has opened once, RUNNING, PAUSED, FAILED with a trace.
"""

import logging
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import snowflake.connector
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from local.channels import Channels, Part, open_session
from local.sink_config import SinkConfig
from local.sink_records import ConversionError, convert_value, dead_letter_headers, row_json

FLUSH_ROWS = 10_000
FLUSH_BYTES = 8 << 20
FLUSH_SECONDS = 0.3
KAFKA_TIMEOUT = 10
CONNECT_EXCEPTION = "org.apache.kafka.connect.errors.ConnectException"
OUTSIDE_FAULTS = (snowflake.connector.errors.Error, KafkaException, OSError)

logger = logging.getLogger(__name__)


class SinkFailureError(Exception):
    """What trying again does not heal: the task fails at once."""


class SinkTask:
    """One running task: a thread that consumes, converts and writes until it is stopped or fails."""

    def __init__(self, config: SinkConfig, bootstrap: Callable[[], str], patience_seconds: float) -> None:
        self.config, self.bootstrap, self.patience = config, bootstrap, patience_seconds
        self.trace: str | None = None
        self.paused = threading.Event()
        self._opened = False
        self._stop = threading.Event()
        self._working_at = time.monotonic()
        self._owed = False  # a batch was begun and is not committed: idling is no progress then
        self._expected: dict[Part, int] = {}
        self._broker_error: KafkaError | None = None
        self._thread = threading.Thread(target=self._run, name=f"{config.name}-0", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop, leaving what is not committed to the next task; False if it did not end in time.

        A task that is stuck commits nothing any more once it has been told to stop.
        """
        self._stop.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def state(self) -> str:
        """The task's state in Kafka Connect's words."""
        if self.trace:
            return "FAILED"
        if not self._opened:
            return "UNASSIGNED"
        return "PAUSED" if self.paused.is_set() else "RUNNING"

    def _run(self) -> None:
        self._working_at = time.monotonic()
        while not self._stop.is_set() and not self.trace:
            try:
                with (
                    open_session(self.config, self.patience) as session,
                    self._kafka() as (consumer, producer),
                ):
                    channels = Channels(session, self.config)
                    self._open(channels, consumer)
                    self._pump(channels, consumer, producer)
            except OUTSIDE_FAULTS as error:
                outage = time.monotonic() - self._working_at
                logger.warning("%s: %s (%.0f s without progress)", self.config.name, error, outage)
                if outage > self.patience:
                    self.trace = _trace(error, f"no progress for {outage:.0f} s: ")
                self._stop.wait(0.5)
            except Exception as error:
                logger.exception("%s failed", self.config.name)
                self.trace = _trace(error)

    @contextmanager
    def _kafka(self) -> Iterator[tuple[Consumer, Producer]]:
        common = {"bootstrap.servers": self.bootstrap(), "log_level": 2}
        self._broker_error = None
        consumer = Consumer(
            common
            | {
                "group.id": self.config.group,
                "enable.auto.commit": False,
                "allow.auto.create.topics": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "fetch.queue.backoff.ms": 20,
                "queued.max.messages.kbytes": FLUSH_BYTES >> 10,
                "error_cb": self._note_error,
            }
        )
        try:
            yield consumer, Producer(common | {"enable.idempotence": True, "linger.ms": 5})
        finally:
            consumer.close()

    def _note_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._broker_error = error

    def _open(self, channels: Channels, consumer: Consumer) -> None:
        """Open the channels: read their tokens, go to the offset after each, tell the group where that is."""
        try:
            tokens = channels.open()
        except snowflake.connector.errors.ProgrammingError as error:
            raise SinkFailureError(f"Snowflake refuses to open the channels: {error.msg}") from error
        starts, committed = [], []
        for topic in self.config.tables:
            metadata = consumer.list_topics(topic, timeout=KAFKA_TIMEOUT).topics[topic]
            if metadata.error:
                raise KafkaException(metadata.error)
            for partition in sorted(metadata.partitions):
                part = TopicPartition(topic, partition)
                low, high = consumer.get_watermark_offsets(part, timeout=KAFKA_TIMEOUT)
                token = tokens.get((topic, partition))
                part.offset = low if token is None else token + 1
                _require_in_log(self.config.name, part, low, high)
                self._expected[topic, partition] = part.offset
                starts.append(part)
                committed += [part] if token is not None else []
        if committed:
            consumer.commit(offsets=committed, asynchronous=False)
        consumer.assign(starts)
        self._opened = True
        logger.info("%s opened at %s", self.config.name, self._expected)

    def _pump(self, channels: Channels, consumer: Consumer, producer: Producer) -> None:
        batch: list[Message] = []
        size, begun = 0, 0.0
        while not self._stop.is_set():
            room = 0 if self.paused.is_set() else FLUSH_ROWS - len(batch)
            for message in consumer.consume(room, timeout=0.05) if room else []:
                self._check(message)
                begun = begun if batch else time.monotonic()
                batch.append(message)
                size += len(message)
            due = time.monotonic() - begun > FLUSH_SECONDS
            if batch and (due or size > FLUSH_BYTES or len(batch) >= FLUSH_ROWS or not room):
                self._flush(batch, channels, consumer, producer)
                batch, size = [], 0
            if self._broker_error:
                raise KafkaException(self._broker_error)
            if not batch and not self._owed:
                self._working_at = time.monotonic()
            if not room:
                self._stop.wait(0.1)

    def _check(self, message: Message) -> None:
        part = message.topic() or "", message.partition() or 0
        expected = self._expected.get(part)
        if error := message.error():
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise SinkFailureError(f"{part}: offset {expected} is not in the log any more: {error.str()}")
            raise KafkaException(error)
        if message.offset() != expected:
            raise SinkFailureError(
                f"{part}: offset gap, expected {expected}, got {message.offset()}; events are lost."
            )
        self._expected[part] = expected + 1

    def _flush(
        self, batch: list[Message], channels: Channels, consumer: Consumer, producer: Producer
    ) -> None:
        """Write a batch: dead letters, then rows and tokens in one transaction, then the group's offsets."""
        self._owed = True
        rows: dict[str, list[str]] = defaultdict(list)
        for message in batch:
            try:
                content = convert_value(message.value())
            except ConversionError as error:
                self._reject(message, error, producer)
                continue
            if content is not None or not self.config.ignore_nulls:
                rows[self.config.tables[message.topic()]].append(row_json(message, content))
        if producer.flush(KAFKA_TIMEOUT):
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
        ends = {(message.topic(), message.partition()): message.offset() for message in batch}
        if not channels.commit(rows, ends, wanted=lambda: not self._stop.is_set()):
            return  # told to stop: another task may have opened the channels since
        offsets = [TopicPartition(topic, partition, last + 1) for (topic, partition), last in ends.items()]
        consumer.commit(offsets=offsets, asynchronous=False)
        self._owed = False

    def _reject(self, message: Message, error: ConversionError, producer: Producer) -> None:
        where = f"{message.topic()}/{message.partition()} offset {message.offset()}"
        if not self.config.tolerant:
            raise SinkFailureError(f"Tolerance exceeded in error handler, {where}: {error}") from error
        logger.error("%s: %s", where, error)
        if self.config.dead_letter_topic:
            headers = message.headers() or []
            if self.config.context_headers:
                headers = dead_letter_headers(message, self.config.name, error)
            producer.produce(
                self.config.dead_letter_topic,
                message.value(),
                key=message.key(),
                headers=headers,
                on_delivery=_require_delivery,
            )


def _require_in_log(connector: str, part: TopicPartition, low: int, high: int) -> None:
    where, offsets = f"{part.topic}/{part.partition}", f"/connectors/{connector}/offsets"
    if part.offset < low:
        raise SinkFailureError(
            f"{where}: the log begins at {low}, the next offset to write is {part.offset}: "
            f"{low - part.offset} events are lost. "
            f"To accept that: stop the connector, PATCH {offsets} to {low}, resume."
        )
    if part.offset > high:
        raise SinkFailureError(
            f"{where}: the log ends at {high}, but offset {part.offset - 1} is in Snowflake already: "
            "this is not the log that was written from, or its end is lost. To write this log from its beginning: stop "
            f"the connector, DELETE {offsets}, resume."
        )


def _require_delivery(error: KafkaError | None, _message: Message) -> None:
    if error:
        raise KafkaException(error)


def _trace(error: BaseException, note: str = "") -> str:
    # As Connect's: what the worker says first, the cause last, whole.
    frames = traceback.extract_tb(error.__traceback__)
    calls = "".join(f"\tat {frame.name}({Path(frame.filename).name}:{frame.lineno})\n" for frame in frames)
    head = f"{CONNECT_EXCEPTION}: Exiting WorkerSinkTask due to unrecoverable exception.\n"
    return f"{head}{calls}Caused by: {CONNECT_EXCEPTION}: {note}{error}\n"
