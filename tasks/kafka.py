"""Kafka as the flows see it: where topics end, and how far a consumer group is behind."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks import names
from blocks.errors import MayHeal, WillNotHeal
from blocks.kafka import KafkaCluster
from blocks.load import load_block

TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.3
REFUSALS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)

Offsets = dict[int, tuple[int, int]]
Lag = dict[int, int]


def topic_partitions(cluster: KafkaCluster) -> dict[str, int]:
    """Count the partitions of every topic there is, by its name. Raises MayHeal or WillNotHeal as below."""
    with _consumer(cluster, "sales-monitor") as consumer:
        topics = consumer.list_topics(timeout=TIMEOUT_SECONDS).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if not topic.error}


def topic_offsets(cluster: KafkaCluster, topic: str) -> Offsets:
    """Read each partition's (start, end): the oldest offset still there, and the one the next event gets.

    Raises MayHeal if the cluster cannot be reached, WillNotHeal if it has no such topic.
    """
    with _consumer(cluster, "sales-monitor") as consumer:
        return {
            partition: consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=TIMEOUT_SECONDS
            )
            for partition in _partitions(consumer, topic)
        }


def committed_offsets(cluster: KafkaCluster, group: str, topic: str) -> dict[int, int]:
    """Read, for each partition, the offset up to which the group has committed.

    For a group that never committed it is the oldest offset still there. Raises as `topic_offsets`.
    """
    with _consumer(cluster, group) as consumer:
        return _committed(consumer, topic)


def group_lag(cluster: KafkaCluster, group: str, topic: str) -> Lag:
    """Count, for each partition, the events that the group has not committed yet. Raises as `topic_offsets`."""
    ends = topic_offsets(cluster, topic)
    passed = committed_offsets(cluster, group, topic)
    return {partition: max(0, end - passed[partition]) for partition, (_start, end) in ends.items()}


def wait_for_lag(
    cluster: KafkaCluster,
    group: str = names.CONSUMER_GROUP,
    topic: str = names.TOPIC,
    *,
    at_most: int = 0,
    timeout_seconds: float = 300,
    on_progress: Callable[[int], None] | None = None,
) -> Lag:
    """Wait until the group has passed all but `at_most` of the events that are there now.

    Events that come while it waits are not waited for: on a live topic that would never end. `on_progress`
    hears the lag each time. Raises MayHeal with the lag by partition when the time is over.
    """
    deadline = time.monotonic() + timeout_seconds
    ends = topic_offsets(cluster, topic)
    while True:
        passed = committed_offsets(cluster, group, topic)
        lag = {partition: max(0, end - passed[partition]) for partition, (_start, end) in ends.items()}
        total = sum(lag.values())
        if on_progress:
            on_progress(total)
        if total <= at_most:
            return lag
        if time.monotonic() > deadline:
            raise MayHeal(
                f"Group {group} is still {total} events behind on {topic} after {timeout_seconds:.0f} s "
                f"(by partition: {lag}). See the connector's status."
            )
        time.sleep(POLL_SECONDS)


@task(name="wait for the stream", cache_policy=NO_CACHE)  # not retried: its timeout is the whole patience
def wait_for_stream(allowed_lag: int = 0, timeout_seconds: float = 300, required: bool = True) -> str:
    """Wait until the Snowflake sink has written what is on the topic.

    Gives an empty text if it has, but for `allowed_lag` events, within the time. If it has not, raises MayHeal, or
    says how far behind it is if it is not `required`.
    """
    cluster, logger = load_block(KafkaCluster, names.KAFKA), get_run_logger()
    try:
        lag = wait_for_lag(cluster, at_most=allowed_lag, timeout_seconds=timeout_seconds)
    except MayHeal as error:
        if required:
            raise
        logger.warning("%s", error)
        return str(error)
    logger.info("%s is %d events behind on %s", names.CONSUMER_GROUP, sum(lag.values()), names.TOPIC)
    return ""


@contextmanager
def _consumer(cluster: KafkaCluster, group: str) -> Iterator[Consumer]:
    # It only asks: it never subscribes, so it is no member of the group and disturbs nobody.
    config: dict[str, Any] = {"group.id": group, "enable.auto.commit": False, "log_level": 2}
    consumer = Consumer(cluster.client_config() | config)
    try:
        yield consumer
    except KafkaException as error:
        reason = f"Kafka at {cluster.bootstrap_servers} does not answer: {error.args[0].str()}."
        if error.args[0].code() in REFUSALS:
            raise WillNotHeal(
                reason, f"Check the login in the block {names.KAFKA} and its rights."
            ) from error
        raise MayHeal(reason, "See that the brokers run and that this machine may reach them.") from error
    finally:
        consumer.close()


def _committed(consumer: Consumer, topic: str) -> dict[int, int]:
    parts = [TopicPartition(topic, partition) for partition in _partitions(consumer, topic)]
    return {
        part.partition: part.offset
        if part.offset >= 0
        else consumer.get_watermark_offsets(part, timeout=TIMEOUT_SECONDS)[0]
        for part in consumer.committed(parts, timeout=TIMEOUT_SECONDS)
    }


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    metadata = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
    if metadata.error:
        raise WillNotHeal(
            f"Topic {topic} cannot be read: {metadata.error.str()}. Create it, or correct its name."
        )
    return sorted(metadata.partitions)
