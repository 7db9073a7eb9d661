"""A Kafka message, and how one becomes a dead letter."""

import json
from typing import NamedTuple

REASON_HEADER = "error.reason"
SIZE_HEADER = "error.value_bytes"  # of the whole value, where the dead letter has only its beginning
LETTER_BYTES = 500_000


class Message(NamedTuple):
    """What is sent: the topic, the key, the value and the headers of a Kafka message."""

    topic: str
    key: str | None
    value: bytes
    headers: list[tuple[str, bytes]]

    def to_line(self) -> str:
        """Write the message as one line; bytes that are no UTF-8 survive as lone surrogates."""
        headers = [(name, _text(value)) for name, value in self.headers]
        return json.dumps([self.topic, self.key, _text(self.value), headers]) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Message":
        """Read what `to_line` wrote. Raises ValueError for anything else."""
        topic, key, value, headers = json.loads(line)
        return cls(topic, key, _bytes(value), [(name, _bytes(text)) for name, text in headers])


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def dead_letter(message: Message, topic: str, reason: str) -> Message:
    """Address a message to the dead letters, with the reason in a header; cut it if it is too large."""
    headers = [*message.headers, (REASON_HEADER, reason.encode(errors="replace"))]
    if len(message.value) > LETTER_BYTES:
        headers.append((SIZE_HEADER, str(len(message.value)).encode()))
    return Message(topic, message.key, message.value[:LETTER_BYTES], headers)
