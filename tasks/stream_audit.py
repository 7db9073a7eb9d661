"""Accounting for the stream: every offset the sink has passed is a landed row or a dead letter.

For each partition and stretch of offsets since the last look:
end offset − start offset = rows in SALES_RAW + dead letters. Written to MONITORING.LOAD_AUDIT.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, Message, TopicPartition
from prefect import get_run_logger, task
from prefect.runtime import flow_run

from blocks import names
from blocks.errors import MayHeal
from blocks.kafka import KafkaCluster
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.kafka import TIMEOUT_SECONDS, committed_offsets, topic_offsets
from tasks.retries import RETRY
from tasks.warehouse import transaction

Positions = dict[int, int]


@dataclass(frozen=True)
class Stretch:
    """Offsets of one partition, from `start` up to but without `end`, and what became of them."""

    topic: str
    partition: int
    start: int
    end: int
    landed: int
    dead_lettered: int

    @property
    def missing(self) -> int:
        """Count the offsets that are neither; transaction markers and ignored tombstones are among them."""
        return self.end - self.start - self.landed - self.dead_lettered


def audited(warehouse: SalesWarehouse) -> Positions:
    """Read, for each partition of the topic, up to which offset it has been accounted for."""
    rows = warehouse.rows(
        "select unit_name, max(end_offset) as position from MONITORING.LOAD_AUDIT "
        "where unit_kind = 'partition' and source = %s group by unit_name",
        (names.TOPIC,),
    )
    return {int(row["unit_name"].rsplit("-", 1)[1]): int(row["position"]) for row in rows}


def letters_read(warehouse: SalesWarehouse) -> Positions:
    """Read, for each partition of the dead letters, up to which offset they have been counted."""
    rows = warehouse.rows(
        "select topic_partition, max(end_offset) as position from MONITORING.DEAD_LETTER_POSITIONS "
        "group by topic_partition"
    )
    return {int(row["topic_partition"]): int(row["position"]) for row in rows}


def within(stretches: dict[int, tuple[int, int]]) -> str:
    """Give the SQL condition for the topic's rows of SALES_RAW in these stretches of offsets, by partition."""
    offsets = " or ".join(
        f"(record_metadata:partition::number = {p} and record_metadata:offset::number >= {start} "
        f"and record_metadata:offset::number < {end})"
        for p, (start, end) in stretches.items()
    )
    return f"record_metadata:topic::varchar = '{names.TOPIC}' and ({offsets})"


def landed_rows(warehouse: SalesWarehouse, stretches: dict[int, tuple[int, int]]) -> Positions:
    """Count the rows of SALES_RAW in each partition's stretch of offsets, each offset once."""
    rows = warehouse.rows(
        "select record_metadata:partition::number as part, count(distinct record_metadata:offset::number) as landed "  # noqa: S608
        f"from RAW.SALES_RAW where {within(stretches)} group by 1"
    )
    return {int(row["part"]): int(row["landed"]) for row in rows}


def read_topic(cluster: KafkaCluster, topic: str, since: Positions) -> Iterator[Message]:
    """Read a topic's messages from the given offsets on, by partition, up to where the topic ends now.

    Raises MayHeal if the cluster does not answer.
    """
    consumer = Consumer(cluster.client_config() | {"group.id": "sales-audit", "enable.auto.commit": False})
    try:
        for partition, (start, end) in topic_offsets(cluster, topic).items():
            position = max(start, since.get(partition, 0))
            consumer.assign([TopicPartition(topic, partition, position)])
            while position < end:
                message = consumer.poll(TIMEOUT_SECONDS)
                if message is None or message.error():
                    reason = message.error().str() if message else "no answer"
                    raise MayHeal(f"{topic}-{partition} cannot be read at {position}: {reason}")
                position = message.offset() + 1
                yield message
    finally:
        consumer.close()


def dead_letters(cluster: KafkaCluster, since: Positions) -> Iterator[Message]:
    """Read the dead letters from the given offsets on, up to where their topic ends now. Raises MayHeal."""
    return read_topic(cluster, names.DEAD_LETTER_TOPIC, since)


def origin(letter: Message) -> tuple[int, int] | None:
    """Give partition and offset of the event that a dead letter is about; None if Connect did not write it."""
    headers = {name: value for name, value in letter.headers() or [] if isinstance(value, bytes)}
    if headers.get("__connect.errors.topic") != names.TOPIC.encode():
        return None
    return int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])


def account(warehouse: SalesWarehouse, cluster: KafkaCluster, load_id: str) -> list[Stretch]:
    """Account for what the sink has passed since the last time, and write it down in one transaction."""
    # What the group committed, read once: an end read at another moment would count events as passed that are not.
    now = committed_offsets(cluster, names.CONSUMER_GROUP, names.TOPIC)
    before = {p: start for p, (start, _end) in topic_offsets(cluster, names.TOPIC).items()} | audited(
        warehouse
    )
    open_stretches = {p: (before.get(p, 0), end) for p, end in now.items() if end > before.get(p, 0)}
    if not open_stretches:
        return []
    dead: dict[int, set[int]] = {p: set() for p in open_stretches}
    positions: Positions = {}
    held_back: set[int] = set()
    for letter in dead_letters(cluster, letters_read(warehouse)):
        about, where = origin(letter), letter.partition()
        if about and about[1] >= now.get(about[0], 0):
            held_back.add(where)  # about an event the sink has not passed yet: read again next time
        if where not in held_back:
            positions[where] = letter.offset() + 1
        if about and about[0] in open_stretches and open_stretches[about[0]][0] <= about[1] < now[about[0]]:
            dead[about[0]].add(about[1])
    landed = landed_rows(warehouse, open_stretches)
    stretches = [
        Stretch(names.TOPIC, p, start, end, landed.get(p, 0), len(dead[p]))
        for p, (start, end) in sorted(open_stretches.items())
    ]
    _write(warehouse, load_id, stretches, positions)
    return stretches


def _write(warehouse: SalesWarehouse, load_id: str, stretches: list[Stretch], positions: Positions) -> None:
    with warehouse.session(query_tag="sales-audit") as connection, transaction(connection) as cursor:
        for s in stretches:
            cursor.execute(
                "insert into MONITORING.LOAD_AUDIT (load_id, unit_kind, unit_name, source, start_offset, "
                "end_offset, rows_read, rows_loaded, rows_quarantined, rows_duplicate, loaded_at) "
                "select %s, 'partition', %s, %s, %s, %s, %s, %s, %s, 0, sysdate()",
                (
                    *(load_id, f"{s.topic}-{s.partition}", s.topic, s.start, s.end),
                    *(s.end - s.start, s.landed, s.dead_lettered),
                ),
            )
        for partition, end in positions.items():
            cursor.execute(
                "insert into MONITORING.DEAD_LETTER_POSITIONS select %s, %s, %s", (load_id, partition, end)
            )


@task(name="account for the stream", **RETRY)
def account_for_stream() -> list[Stretch]:
    """Write down what became of every event the sink has passed since the last run; report what is missing."""
    warehouse, cluster = load_block(SalesWarehouse, names.WAREHOUSE), load_block(KafkaCluster, names.KAFKA)
    stretches, logger = account(warehouse, cluster, str(flow_run.id)), get_run_logger()
    for stretch in stretches:
        report = logger.warning if stretch.missing else logger.info
        report(
            "%s-%d offsets %d to %d: %d landed, %d dead-lettered, %d missing",
            stretch.topic, stretch.partition, stretch.start, stretch.end,
            stretch.landed, stretch.dead_lettered, stretch.missing,
        )  # fmt: skip
    return stretches
