"""A client of the cluster that keeps the order of each key and gives back, in order, what was not delivered.

Idempotence keeps the order of what is delivered. No message times out alone, which would let the next one of its key
pass: when nothing has been confirmed for too long, the client is given up as a whole.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Delivered

from blocks.errors import MayHeal, WillNotHeal
from blocks.kafka import KafkaCluster
from streaming.message import Message, dead_letter

PURGE_SECONDS = 30
WAIT_SECONDS = 0.1
HEAR_EVERY = 32
PRODUCER_CONFIG: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "zstd",
    "linger.ms": 20,
    "queue.buffering.max.messages": 20_000,
    "queue.buffering.max.kbytes": 65_536,
    "delivery.timeout.ms": 0,  # none: `patience` is kept for all messages together
    "delivery.report.only.error": True,  # a callback for each success would cost a fifth of the throughput
}
# What the cluster will not take of one message, whenever it is sent.
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
    }
)

logger = logging.getLogger(__name__)


class Silence(Exception):
    """The cluster confirms nothing; the text says how that was noticed."""


class Client:
    """Sends messages to one cluster, until it is given up.

    `sent`, of which `letters` are dead ones, and `bytes` count what did not come back. `patience` gives the seconds
    without any confirmation after which Silence is raised. Raises MayHeal if the cluster cannot be reached within
    `timeout`, WillNotHeal if it has no such topic.
    """

    def __init__(
        self,
        cluster: KafkaCluster,
        topic: str,
        dead_letter_topic: str,
        *,
        timeout: float,
        patience: Callable[[], float],
    ) -> None:
        self.dead_letter_topic, self.patience = dead_letter_topic, patience
        self.sent = self.letters = self.bytes = 0
        self._place = 0
        self._returned: dict[int, Message] = {}  # what came back, by its place
        self._refused: list[Message] = []
        self._fault: str | None = None
        self._moved = 0, time.monotonic()  # what was confirmed when that last changed, and when that was
        self._client = Producer(cluster.client_config() | PRODUCER_CONFIG, logger=logger)
        self._require_topic(cluster, topic, timeout)

    @property
    def queued(self) -> int:
        """How many are not confirmed yet."""
        return len(self._client)

    def send(self, message: Message) -> None:
        """Take a message; wait while too many are queued. Raises Silence."""
        self._place = place = self._place + 1
        topic, key, value, headers = message
        while True:
            try:
                self._client.produce(
                    topic, value, key, headers=headers, on_delivery=partial(self._returns, place, message)
                )
                break
            except BufferError:  # the queue is full: let the cluster catch up
                self._returned[place] = message
                self.hear(WAIT_SECONDS)
                del self._returned[place]
            except KafkaException as error:
                if self._refuse(message, error.args[0]):
                    return
                self._returned[place] = message
                raise Silence(error.args[0].str()) from error
        self.sent += 1
        self.bytes += len(value)
        if topic == self.dead_letter_topic:
            self.letters += 1
        if place % HEAR_EVERY == 0:
            self._serve(0)

    def hear(self, seconds: float) -> None:
        """Wait at most so long for news. Raises Silence if a message came back, or nothing was confirmed for long."""
        self._serve(seconds)
        queued, now = len(self._client), time.monotonic()
        if not queued or self.sent - queued != self._moved[0]:
            self._moved = self.sent - queued, now
        if queued and now - self._moved[1] >= self.patience():
            raise Silence(f"nothing was confirmed for {now - self._moved[1]:.0f} s")

    def settle(self) -> None:
        """Return when everything is confirmed. Raises Silence."""
        while len(self._client) or self._refused or self._fault:
            self.hear(WAIT_SECONDS)

    def give_up(self) -> list[Message]:
        """Give back, in order, all that is not confirmed; the client is of no use any more.

        Raises MayHeal if something cannot be had back.
        """
        self._client.purge()
        deadline = time.monotonic() + PURGE_SECONDS
        while len(self._client):
            self._client.poll(WAIT_SECONDS)
            if time.monotonic() > deadline:
                raise MayHeal(
                    f"{len(self._client)} messages could not be taken back from Kafka's client.",
                    "Have their source send them again; duplicates are removed by event_id.",
                )
        return [self._returned[place] for place in sorted(self._returned)] + self._refused

    def _serve(self, seconds: float) -> None:
        self._client.poll(seconds)
        while self._refused:
            self.send(self._refused.pop())
        if self._fault:
            raise Silence(self._fault)

    def _returns(self, place: int, message: Message, error: KafkaError, _message: Delivered) -> None:
        """Take back a message that was not delivered (the callback of confluent-kafka)."""
        self.sent -= 1
        self.bytes -= len(message.value)
        self.letters -= message.topic == self.dead_letter_topic
        if not self._refuse(message, error):
            self._returned[place] = message
            self._fault = self._fault or error.str()

    def _refuse(self, message: Message, error: KafkaError) -> bool:
        """Have a message that can never be taken sent to the dead letters; tell if it is one."""
        if error.code() not in REFUSALS or message.topic == self.dead_letter_topic:
            return False
        self._refused.append(dead_letter(message, self.dead_letter_topic, error.str()))
        return True

    def _require_topic(self, cluster: KafkaCluster, topic: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fault = self._client.list_topics(topic, timeout=timeout).topics[topic].error
            except KafkaException as error:
                raise MayHeal(
                    f"Kafka at {cluster.bootstrap_servers} cannot be reached: {error.args[0].str()}"
                ) from error
            if fault is None or fault.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                return
            if time.monotonic() > deadline:  # a cluster that makes topics by use has made it by now
                raise WillNotHeal(
                    f"There is no topic {topic} on {cluster.bootstrap_servers}.", "Create it first."
                )
            time.sleep(WAIT_SECONDS)
