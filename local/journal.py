"""The journal of the embedded Kafka: one append-only file per partition, safe against a killed process.

A file `<topic>/<partition>.log` is a sequence of frames: length and CRC-32 of the body (two big-endian
uint32), then the body, which is one or more records. A record is offset, timestamp (ms), length of key,
length of value (-1 for null), number of headers, then key, value and headers. A frame is written by one
write, so a process that is killed leaves at most the last frame torn; reading cuts it off.
"""

import logging
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

FRAME = struct.Struct(">II")
RECORD = struct.Struct(">qqiiH")
HEADER = struct.Struct(">Hi")

logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """One Kafka message as the journal keeps it; `timestamp` is milliseconds since 1970."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Journal:
    """All partitions' files under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def partitions(self) -> Iterator[tuple[str, int]]:
        """List the (topic, partition) pairs that have a file, in order."""
        for path in sorted(self.folder.glob("*/*.log")):
            yield path.parent.name, int(path.stem)

    def append(self, topic: str, partition: int, records: Iterable[Record]) -> None:
        """Add records to a partition as one frame, handed to the operating system before this returns."""
        body = b"".join(part for record in records for part in _encode(record))
        path = self.folder / topic / f"{partition}.log"
        path.parent.mkdir(exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write(FRAME.pack(len(body), zlib.crc32(body)) + body)

    def read(self, topic: str, partition: int) -> Iterator[Record]:
        """Read a partition's records in order; a torn frame, and whatever follows it, is cut off the file."""
        path = self.folder / topic / f"{partition}.log"
        with path.open("r+b") as file:
            good = 0
            while body := _next_body(file):
                yield from _decode(body)
                good = file.tell()
            if torn := path.stat().st_size - good:
                logger.error(
                    "%s/%d: cut off a torn frame of %d bytes at byte %d", topic, partition, torn, good
                )
                file.truncate(good)


def _next_body(file: BinaryIO) -> bytes:
    # Empty at the end of the file, and for a frame that is not whole.
    head = file.read(FRAME.size)
    if len(head) < FRAME.size:
        return b""
    length, checksum = FRAME.unpack(head)
    body = file.read(length)
    return body if len(body) == length and zlib.crc32(body) == checksum else b""


def _encode(record: Record) -> Iterator[bytes]:
    key_length = -1 if record.key is None else len(record.key)
    value_length = -1 if record.value is None else len(record.value)
    yield RECORD.pack(record.offset, record.timestamp, key_length, value_length, len(record.headers))
    yield record.key or b""
    yield record.value or b""
    for name, value in record.headers:
        encoded = name.encode()
        yield HEADER.pack(len(encoded), -1 if value is None else len(value)) + encoded + (value or b"")


def _decode(body: bytes) -> Iterator[Record]:
    at = 0

    def take(length: int) -> bytes | None:
        nonlocal at
        if length < 0:
            return None
        at += length
        return body[at - length : at]

    while at < len(body):
        offset, timestamp, key_length, value_length, header_count = RECORD.unpack_from(body, at)
        at += RECORD.size
        key, value, headers = take(key_length), take(value_length), []
        for _ in range(header_count):
            name_length, length = HEADER.unpack_from(body, at)
            at += HEADER.size
            headers.append(((take(name_length) or b"").decode(), take(length)))
        yield Record(offset, timestamp, key, value, headers)
