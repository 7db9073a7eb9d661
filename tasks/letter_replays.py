"""Replaying dead letters: each is sent to the topic once, whatever is killed and however often it is run.

MONITORING.DEAD_LETTER_REPLAYS remembers: a replay claims letters, sends them, notes them as sent. A claim without
an outcome is one of a replay that was killed or is still at work. After a while (it cannot be at work any longer)
the topic itself tells which of its letters were sent: each message carries the name of its letter in a header,
and the claim says from which offsets on to look.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from blocks import names
from blocks.errors import MayHeal, WillNotHeal
from blocks.kafka import KafkaCluster
from blocks.warehouse import SalesWarehouse
from streaming.message import REASON_HEADER
from streaming.producer import to_message
from tasks.dead_letters import CONNECT_HEADERS, Letter, read_letters
from tasks.kafka import TIMEOUT_SECONDS, topic_offsets
from tasks.stream_audit import read_topic

REPLAY_HEADER = "replay.of"
BATCH_LETTERS = 1_000
DELIVERY_SECONDS = 60
# Longer than a replay can take from its claim to the last delivery of a batch.
CLAIM_SECONDS = 2 * DELIVERY_SECONDS
PRODUCER_CONFIG: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "zstd",
    "delivery.timeout.ms": DELIVERY_SECONDS * 1000,
}
OPEN_CLAIMS = """
select letter, replay_id, max(topic_ends) as topic_ends, datediff('second', min(noted_at), sysdate()) as age
from MONITORING.DEAD_LETTER_REPLAYS
group by letter, replay_id
having count_if(status <> 'claimed') = 0
"""
NOTE = """
insert into MONITORING.DEAD_LETTER_REPLAYS
    (letter, replay_id, status, topic_ends, replayed_partition, replayed_offset, noted_at)
select f.value:letter::varchar, %s, %s, %s, f.value:partition::number(38, 0), f.value:offset::number(38, 0), sysdate()
from table(flatten(input => parse_json(%s))) f
"""

Place = tuple[int, int]


@dataclass
class ReplayReport:
    """Letters sent, and not sent: because they were sent before, or would only become dead letters again."""

    sent: int = 0
    sent_before: int = 0
    still_wrong: int = 0


def replayed_letters(warehouse: SalesWarehouse) -> set[str]:
    """Read the names of the letters that were sent."""
    rows = warehouse.rows("select distinct letter from MONITORING.DEAD_LETTER_REPLAYS where status = 'sent'")
    return {row["letter"] for row in rows}


def replay_as_they_are(
    warehouse: SalesWarehouse, cluster: KafkaCluster, letters: Iterable[Letter]
) -> ReplayReport:
    """Send letters as they are, those that keep the schema now. Raises as `replay`."""
    report = ReplayReport()

    def valid() -> Iterator[tuple[Letter, bytes]]:
        for letter in letters:
            if letter.fault:
                report.still_wrong += 1
            else:
                yield letter, letter.value

    return replay(warehouse, cluster, valid(), report)


def replay_mended(
    warehouse: SalesWarehouse, cluster: KafkaCluster, mended: Mapping[str, bytes]
) -> ReplayReport:
    """Send letters, by their names, with other values.

    Raises WillNotHeal, before any is sent, if one of them is not among the dead letters; else as `replay`.
    """
    letters = [letter for letter in read_letters(cluster) if letter.name in mended]
    if strange := sorted(mended.keys() - {letter.name for letter in letters}):
        raise WillNotHeal(
            f"There are no such dead letters (any more), so nothing was sent: {', '.join(strange[:10])}."
        )
    return replay(warehouse, cluster, ((letter, mended[letter.name]) for letter in letters))


def replay(
    warehouse: SalesWarehouse,
    cluster: KafkaCluster,
    mended: Iterable[tuple[Letter, bytes]],
    report: ReplayReport | None = None,
) -> ReplayReport:
    """Send letters with these values to the topic, each that was not sent before.

    Raises MayHeal if another replay holds a claim on one of them, or the topic does not take them.
    """
    report = report or ReplayReport()
    settle_claims(warehouse, cluster)
    done, remaining = replayed_letters(warehouse), iter(mended)
    while batch := dict(
        islice(((letter.name, (letter, value)) for letter, value in remaining), BATCH_LETTERS)
    ):
        fresh = {name: each for name, each in batch.items() if name not in done}
        report.sent_before += len(batch) - len(fresh)
        if fresh:
            report.sent += _replay_batch(warehouse, cluster, fresh)
            done |= fresh.keys()
    return report


def settle_claims(warehouse: SalesWarehouse, cluster: KafkaCluster) -> None:
    """Find out what became of the letters of replays that were killed, and note it.

    Raises MayHeal while such a replay may still be at work.
    """
    claims = warehouse.rows(OPEN_CLAIMS)
    if not claims:
        return
    youngest = min(int(claim["age"]) for claim in claims)
    if youngest < CLAIM_SECONDS:
        raise MayHeal(
            "Another replay is at work, or was killed a moment ago.",
            f"Run this again in {CLAIM_SECONDS - youngest} seconds.",
        )
    sent = _find_sent(cluster, [json.loads(claim["topic_ends"]) for claim in claims])
    for replay_id in {claim["replay_id"] for claim in claims}:
        mine = [claim["letter"] for claim in claims if claim["replay_id"] == replay_id]
        _note(warehouse, replay_id, "sent", {name: sent[name] for name in mine if name in sent})
        _note(warehouse, replay_id, "dropped", dict.fromkeys(name for name in mine if name not in sent))


def _replay_batch(
    warehouse: SalesWarehouse, cluster: KafkaCluster, letters: Mapping[str, tuple[Letter, bytes]]
) -> int:
    replay_id = str(uuid.uuid4())
    _claim(warehouse, cluster, replay_id, letters.keys())
    places, fault = _send(cluster, letters)
    _note(warehouse, replay_id, "sent", places)
    if len(places) < len(letters):
        # What was not confirmed may be on the topic all the same: its claim stays, and the topic will tell.
        raise MayHeal(
            f"{len(letters) - len(places)} of {len(letters)} letters were not confirmed by {names.TOPIC}: {fault}.",
            f"Run this again after {CLAIM_SECONDS} seconds; what was sent is not sent twice.",
        )
    return len(places)


def _claim(warehouse: SalesWarehouse, cluster: KafkaCluster, replay_id: str, letters: Iterable[str]) -> None:
    """Claim letters; of two replays that claim one at the same time at least one gives way."""
    ends = {str(partition): end for partition, (_, end) in topic_offsets(cluster, names.TOPIC).items()}
    mine = dict.fromkeys(letters)
    _note(warehouse, replay_id, "claimed", mine, json.dumps(ends))
    others = {row["letter"] for row in warehouse.rows(OPEN_CLAIMS) if row["replay_id"] != replay_id}
    if mine.keys() & (others | replayed_letters(warehouse)):
        _note(warehouse, replay_id, "dropped", mine)
        raise MayHeal("Another replay is sending some of these letters.", "Run this again when it is done.")


def _send(
    cluster: KafkaCluster, letters: Mapping[str, tuple[Letter, bytes]]
) -> tuple[dict[str, Place | None], str]:
    """Send letters and wait for the answers; give the places of those confirmed, and what was said of the others."""
    places: dict[str, Place | None] = {}
    faults: list[str] = []

    def delivered(name: str, error: KafkaError | None, message: Message) -> None:
        if error:
            faults.append(error.str())
        else:
            places[name] = message.partition(), message.offset()

    producer = Producer(cluster.client_config() | PRODUCER_CONFIG)
    for name, (letter, value) in letters.items():
        told = to_message(value)
        headers = [*_own_headers(letter, dict(told.headers)), (REPLAY_HEADER, name.encode())]
        key = letter.key if told.key is None else told.key
        try:
            producer.produce(names.TOPIC, value, key, headers=headers, on_delivery=partial(delivered, name))
        except KafkaException as error:  # too large
            faults.append(error.args[0].str())
        producer.poll(0)
    producer.flush(DELIVERY_SECONDS + TIMEOUT_SECONDS)
    return places, next(iter(faults), "no answer")


def _own_headers(letter: Letter, told: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Give the event's headers: those that came with it, but for what made it a dead letter, as it tells them now."""
    came = {
        name: value
        for name, value in letter.headers
        if not name.startswith(CONNECT_HEADERS) and name not in (REASON_HEADER, REPLAY_HEADER)
    }
    return list((came | told).items())


def _find_sent(cluster: KafkaCluster, topic_ends: list[dict[str, int]]) -> dict[str, Place | None]:
    """Find the replayed letters on the topic, from where it ended when the earliest of the claims was made."""
    partitions = {partition for ends in topic_ends for partition in ends}
    since = {int(p): min(ends.get(p, 0) for ends in topic_ends) for p in partitions}
    found: dict[str, Place | None] = {}
    for message in read_topic(cluster, names.TOPIC, since):
        for name, value in message.headers() or []:
            if name == REPLAY_HEADER and value:
                found[value.decode()] = message.partition(), message.offset()
    return found


def _note(
    warehouse: SalesWarehouse,
    replay_id: str,
    status: str,
    letters: Mapping[str, Place | None],
    topic_ends: str | None = None,
) -> None:
    """Add one row for each letter, all in one statement."""
    if not letters:
        return
    rows = [
        {"letter": name} | ({"partition": place[0], "offset": place[1]} if place else {})
        for name, place in letters.items()
    ]
    with warehouse.session(query_tag="sales-replay") as connection, connection.cursor() as cursor:
        cursor.execute(NOTE, (replay_id, status, topic_ends, json.dumps(rows)))
