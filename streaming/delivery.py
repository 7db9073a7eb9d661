"""Delivery: messages to the cluster, each confirmed by it, or kept in the spill until it is.

While anything waits in the spill, everything goes through the spill, so that no later message of a key overtakes an
earlier one; to follow which keys wait would cost memory for each. A cluster that confirms nothing for `patience`
seconds is given up: all that is unconfirmed goes to the spill, in order. The spill is sent as soon as the cluster
answers again, or by the next start. What the cluster had taken without saying so is then sent twice, under the same
event_id.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from blocks.errors import MayHeal
from blocks.kafka import KafkaCluster
from streaming.client import Client, Silence
from streaming.message import Message
from streaming.report import PublishReport
from streaming.spill import Spill

CONNECT_TIMEOUT_SECONDS = 10
RECONNECT_TIMEOUT_SECONDS = 2
RETRY_SECONDS = 3
STOP_SECONDS = 5


class Delivery:
    """Sends messages and counts in `report` what becomes of them. As a context it leaves none behind.

    `stop` says that the process is to end: then `STOP_SECONDS` are patience enough.
    Raises MayHeal if the cluster cannot be reached at first and, without a spill, for undelivered messages.
    """

    def __init__(
        self,
        cluster: KafkaCluster,
        topic: str,
        dead_letter_topic: str,
        *,
        spill: Spill | None = None,
        patience: float = 60,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.cluster, self.topics = cluster, (topic, dead_letter_topic)
        self.spill, self.patience, self.stop = spill, patience, stop
        self.report = PublishReport()
        self._before = 0, 0, 0  # produced, rejected and bytes of the clients before this one
        self._retry_at = 0.0
        self._client: Client | None = self._connect(CONNECT_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self.patience = 0  # interrupted a second time
        try:
            self.settle()
        finally:
            self.count()
            if self.spill is not None:
                self.spill.close()

    def send(self, message: Message) -> None:
        """Take one message; wait while too many are unconfirmed."""
        if self._client is None or self.spill:
            assert self.spill is not None
            self.spill.require_room()
            self.spill.append(message)
            self.report.spilled += 1
            return
        try:
            self._client.send(message)
        except Silence as silence:
            self._set_aside(silence)

    def check(self, seconds: float = 0) -> None:
        """Hear for at most so long what became of the messages; try again to send what waits in the spill."""
        try:
            if self._client is None:
                time.sleep(seconds)
            else:
                self._client.hear(seconds)
        except Silence as silence:
            self._set_aside(silence)
        if self.spill:
            self.spill.sync()
            if time.monotonic() >= self._retry_at:
                self.send_spilled()
        self.count()

    def settle(self) -> None:
        """Return when every message taken is confirmed, or durable in the spill."""
        try:
            if self._client is not None:
                self._client.settle()
        except Silence as silence:
            self._set_aside(silence)
        if self.spill is not None:
            self.spill.sync()
        self.count()

    def send_spilled(self) -> None:
        """Send what waits in the spill, oldest first, until nothing does or the cluster is silent."""
        while self.spill and not self.stop() and (segment := self.spill.first()):
            messages = self.spill.read(segment)
            try:
                self._client = self._client or self._connect(RECONNECT_TIMEOUT_SECONDS)
                for message in messages:
                    self._client.send(message)
                self._client.settle()
            except (Silence, MayHeal) as silence:
                self._give_up(silence)
                return
            self.spill.remove(segment, len(messages))
            self.report.resent += len(messages)

    def count(self) -> None:
        """Bring the report up to date."""
        report, client, (produced, rejected, before) = self.report, self._client, self._before
        report.waiting = len(self.spill) if self.spill is not None else 0
        report.queued = client.queued if client else 0
        if client:
            report.rejected = rejected + client.letters
            report.produced = produced + max(0, client.sent - client.queued - client.letters)
            report.bytes = before + client.bytes

    def _set_aside(self, silence: Exception) -> None:
        """Put what is unconfirmed into the spill, in order. Raises MayHeal if there is none."""
        unconfirmed = self._give_up(silence)
        if self.spill is None:
            self.report.failed += len(unconfirmed)
            raise MayHeal(
                f"{self.report.failed} of {self.report.taken} events could not be delivered ({silence}); "
                f"{self.report.produced} were. Sending all of them again is safe: duplicates are removed by event_id."
            ) from silence
        for message in unconfirmed:
            self.spill.append(message)
        self.spill.sync()
        self.report.spilled += len(unconfirmed)

    def _give_up(self, silence: Exception) -> list[Message]:
        """Let go of the client; give all that it has not delivered, in order."""
        self.report.first_error = self.report.first_error or str(silence)
        self._retry_at = time.monotonic() + RETRY_SECONDS
        unconfirmed = self._client.give_up() if self._client else []
        self.count()
        self._before = self.report.produced, self.report.rejected, self.report.bytes
        self._client = None
        return unconfirmed

    def _connect(self, timeout: float) -> Client:
        return Client(self.cluster, *self.topics, timeout=timeout, patience=self._patience)

    def _patience(self) -> float:
        return min(self.patience, STOP_SECONDS) if self.stop() else self.patience
