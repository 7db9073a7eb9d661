"""Kafka messages as the Snowflake sink writes them, and as Kafka Connect sends them to the dead letters.

Shapes: RECORD_METADATA as in the connector's SnowflakeSinkRecord (v4), the `__connect.errors.*` headers as
in Kafka's DeadLetterQueueReporter.
"""

import json
import time
from typing import Any, NoReturn

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message

DATA_EXCEPTION = "org.apache.kafka.connect.errors.DataException"
JSON_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
TIME_NAMES = {TIMESTAMP_CREATE_TIME: "CreateTime", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}


class ConversionError(Exception):
    """A value that JsonConverter cannot turn into data."""


def convert_value(value: bytes | None) -> str | None:
    """Check a value as JsonConverter does (schemas off) and give its JSON text; None for a tombstone.

    Raises ConversionError.
    """
    if value is None:
        return None
    try:
        text = value.decode()
        parsed = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:  # half a surrogate pair is JSON, but no character
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ConversionError(
            f"Converting byte[] to Kafka Connect data failed due to serialization error: {error}"
        ) from error
    return None if parsed is None else text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def row_json(message: Message, content: str | None) -> str:
    """Give the row as a JSON object: `m` becomes RECORD_METADATA, `c` RECORD_CONTENT (absent: NULL)."""
    metadata = json.dumps(_metadata(message), ensure_ascii=False)
    return f'{{"m":{metadata},"c":{content}}}' if content is not None else f'{{"m":{metadata}}}'


def _metadata(message: Message) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "topic": message.topic(),
        "offset": message.offset(),
        "partition": message.partition(),
        "SnowflakeConnectorPushTime": int(time.time() * 1000),
    }
    time_type, timestamp = message.timestamp()
    if time_type in TIME_NAMES:
        metadata[TIME_NAMES[time_type]] = timestamp
    if (key := message.key()) is not None:
        metadata["key"] = _text(key)
    if headers := message.headers():
        metadata["headers"] = {name: None if value is None else _text(value) for name, value in headers}
    return metadata


def _text(raw: bytes) -> str:
    # As Java's String: bytes that are no UTF-8 become replacement characters.
    return raw.decode(errors="replace")


def dead_letter_headers(message: Message, connector: str, error: ConversionError) -> list[tuple[str, bytes]]:
    """Give a dead letter's headers: the message's own, then where it came from and what is wrong with it."""
    context = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "connector.name": connector,
        "task.id": 0,
        "stage": "VALUE_CONVERTER",
        "class.name": JSON_CONVERTER,
        "exception.class.name": DATA_EXCEPTION,
        "exception.message": str(error),
    }
    own = message.headers() or []
    return [*own, *((f"__connect.errors.{name}", str(value).encode()) for name, value in context.items())]
