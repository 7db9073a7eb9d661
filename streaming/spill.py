"""The spill: messages that the cluster did not take in time, on disk and in order, until it does.

A folder of numbered segments, each a file of JSON lines {topic, key, value, headers}. New messages go to the last
segment; the first is read, sent and, once every message of it is confirmed, removed whole. A kill before the
removal sends a segment again: at least once. A last line torn by a kill was never promised and is left out.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from blocks.errors import MayHeal, WillNotHeal
from streaming.message import Message

SEGMENT_MESSAGES = 10_000
MOST_MESSAGES = 1_000_000


class Spill:
    """The spill in one folder, held by one producer at a time; `len` says how many messages wait.

    Raises MayHeal if another producer holds it, WillNotHeal if a segment cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = (folder / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise MayHeal(
                f"Another producer is using the spill {folder}. Wait for it to end, or give this one its own."
            ) from None
        self._writing: IO[str] | None = None
        self._written = 0
        self._waiting = sum(len(self.read(segment)) for segment in self._segments())

    def __len__(self) -> int:
        return self._waiting

    def append(self, message: Message) -> None:
        """Put a message last; it is durable after the next `sync`."""
        if self._writing is None or self._written >= SEGMENT_MESSAGES:
            self._next_segment()
        assert self._writing
        self._writing.write(message.to_line())
        self._written += 1
        self._waiting += 1

    def require_room(self) -> None:
        """Raise MayHeal if the spill is full."""
        if self._waiting >= MOST_MESSAGES:
            raise MayHeal(
                f"{MOST_MESSAGES:,} messages wait in {self.folder}; nothing more is taken until the cluster has them.",
                "See that it can be reached, then start again.",
            )

    def sync(self) -> None:
        """Return when everything appended is on disk, whatever happens to this machine."""
        if self._writing:
            self._writing.flush()
            os.fsync(self._writing.fileno())

    def first(self) -> Path | None:
        """Name the segment to be sent first, which gets no more messages; None if nothing waits."""
        self._end_segment()
        return next(self._segments(), None)

    def read(self, segment: Path) -> list[Message]:
        """Read a segment's messages, oldest first."""
        lines = segment.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
        messages = []
        for number, line in enumerate(lines[:-1], 1):  # what follows the last line's end was torn
            try:
                messages.append(Message.from_line(line))
            except (ValueError, TypeError) as error:
                raise WillNotHeal(
                    f"Line {number} of {segment} cannot be read ({error}). Mend or move that file; every line of it "
                    "is a message that has not been sent."
                ) from error
        return messages

    def remove(self, segment: Path, messages: int) -> None:
        """Forget a segment, all of whose messages have been confirmed."""
        segment.unlink()
        self._sync_folder()
        self._waiting -= messages

    def close(self) -> None:
        """Make everything durable and let go of the folder."""
        self._end_segment()
        self._lock.close()

    def _segments(self) -> Iterator[Path]:
        yield from sorted(self.folder.glob("*.jsonl"))

    def _next_segment(self) -> None:
        self._end_segment()
        last = max((int(path.stem) for path in self._segments()), default=0)
        self._writing = (self.folder / f"{last + 1:09}.jsonl").open("x", encoding="utf-8")
        self._written = 0
        self._sync_folder()

    def _end_segment(self) -> None:
        if self._writing:
            self.sync()
            self._writing.close()
            self._writing = None

    def _sync_folder(self) -> None:
        # A file's name is kept by its folder.
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
