"""A connector's offsets: read from its consumer group, changed in Snowflake's channels and in the group.

Bodies and messages are those of Kafka's ConnectorsResource (KIP-875). What counts is the channels' tokens,
which a running task follows; so they are changed only while there is none.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import snowflake.connector
from confluent_kafka import Consumer, KafkaException, TopicPartition

from local.channels import NOTHING, Channels, Part, open_session
from local.sink_config import SinkConfig

TIMEOUT = 10

UNREACHABLE = (snowflake.connector.errors.Error, KafkaException, OSError)

Offsets = dict[Part, int | None]


class OffsetsError(Exception):
    """Offsets that cannot be used; the text is Connect's answer."""


def read_offsets(bootstrap: str, config: SinkConfig) -> list[dict[str, Any]]:
    """Give the group's committed offsets, as in ConnectorOffsets; what was never committed is left out."""
    with _group(bootstrap, config) as consumer:
        parts = _partitions(consumer, config)
        return [
            {
                "partition": {"kafka_topic": part.topic, "kafka_partition": part.partition},
                "offset": {"kafka_offset": part.offset},
            }
            for part in consumer.committed(parts, timeout=TIMEOUT)
            if part.offset >= 0
        ]


def alter_offsets(bootstrap: str, config: SinkConfig, wanted: Offsets) -> None:
    """Let the next task begin at these offsets; None: at the log's beginning, as if nothing had been written.

    Offsets in between are given up: they will never be written. Raises OffsetsError for an offset that would
    write rows again and for a partition the connector does not read; snowflake.connector's errors and
    KafkaException for what cannot be reached.
    """
    with _group(bootstrap, config) as consumer, open_session(config, TIMEOUT) as session:
        known = {(part.topic, part.partition) for part in _partitions(consumer, config)}
        if unknown := sorted(wanted.keys() - known):
            raise OffsetsError(f"The connector does not read these partitions: {unknown}")
        channels = Channels(session, config)
        tokens = channels.open()
        for (topic, partition), offset in wanted.items():
            written = tokens.get((topic, partition), NOTHING)
            if offset is not None and offset <= written:
                raise OffsetsError(
                    f"{topic}/{partition}: offset {written} is in Snowflake already; to begin at {offset} would write "
                    "rows twice. Reset the offset (null) if everything is to be written again."
                )
        channels.reset({part: NOTHING if offset is None else offset - 1 for part, offset in wanted.items()})
        consumer.commit(offsets=list(_starts(consumer, wanted)), asynchronous=False)


def reset_offsets(bootstrap: str, config: SinkConfig) -> None:
    """Let the next task begin everywhere at the log's beginning. Raises as `alter_offsets`."""
    with _group(bootstrap, config) as consumer:
        wanted: Offsets = {(part.topic, part.partition): None for part in _partitions(consumer, config)}
    alter_offsets(bootstrap, config, wanted)


def parse_offsets(body: bytes) -> Offsets:
    """Read the body of an alteration: {"offsets": [{"partition": {…}, "offset": {…} or null}]}.

    Raises OffsetsError.
    """
    try:
        given = json.loads(body)["offsets"]
        wanted = {_part(each["partition"]): _offset(each["offset"]) for each in given}
    except (ValueError, KeyError, TypeError) as error:
        raise OffsetsError(f"Cannot deserialize offsets from the body: {error!r}") from None
    if not wanted:
        raise OffsetsError("Partitions / offsets need to be provided for an alter offsets request")
    return wanted


def _part(partition: Mapping[str, Any]) -> Part:
    return str(partition["kafka_topic"]), int(partition["kafka_partition"])


def _offset(offset: Mapping[str, Any] | None) -> int | None:
    return None if offset is None else int(offset["kafka_offset"])


@contextmanager
def _group(bootstrap: str, config: SinkConfig) -> Iterator[Consumer]:
    # It never subscribes: no member of the group, so that it disturbs nobody.
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": config.group, "log_level": 2})
    try:
        yield consumer
    finally:
        consumer.close()


def _partitions(consumer: Consumer, config: SinkConfig) -> list[TopicPartition]:
    parts = []
    for topic in config.tables:
        metadata = consumer.list_topics(topic, timeout=TIMEOUT).topics[topic]
        if metadata.error:
            raise KafkaException(metadata.error)
        parts += [TopicPartition(topic, number) for number in sorted(metadata.partitions)]
    return parts


def _starts(consumer: Consumer, wanted: Offsets) -> Iterator[TopicPartition]:
    for (topic, partition), offset in wanted.items():
        part = TopicPartition(topic, partition)
        if offset is None:
            offset, _ = consumer.get_watermark_offsets(part, timeout=TIMEOUT)
        part.offset = offset
        yield part
