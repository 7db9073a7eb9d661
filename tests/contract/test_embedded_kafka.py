"""The embedded Kafka keeps what it acknowledged, at the same offsets, through stops and kills."""

import json
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from blocks.errors import MayHeal
from blocks.kafka import KafkaCluster
from local.journal import Journal, Record
from local.kafka import LOST_HEADER
from streaming.generator import sale_events
from streaming.producer import publish
from tasks.kafka import group_lag, topic_offsets, wait_for_lag

PARTITIONS = range(4)


def cluster_of(service) -> KafkaCluster:
    return KafkaCluster(bootstrap_servers=service.facts["bootstrap"])


def read_all(cluster: KafkaCluster, topic: str) -> dict[int, list[tuple]]:
    consumer = Consumer(cluster.client_config() | {"group.id": "t", "fetch.wait.max.ms": 10, "log_level": 2})
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=5)[1] for p in PARTITIONS}
    consumer.assign([TopicPartition(topic, p, 0) for p in PARTITIONS])
    found = {p: [] for p in PARTITIONS}
    for m in consumer.consume(sum(ends.values()), timeout=15):
        found[m.partition()].append((m.offset(), m.timestamp(), m.key(), m.value(), m.headers()))
    consumer.close()
    assert {p: len(rows) for p, rows in found.items()} == ends
    return found


def produce_oddities(cluster: KafkaCluster) -> None:
    client = Producer(cluster.client_config())
    client.produce("sales_events", None, key="tombstone", partition=0)
    client.produce("sales_events", b"", key=None, partition=0, timestamp=1_700_000_000_123)
    client.produce(
        "sales_events", b"\x00\xff", key=b"", partition=0, headers=[("a", b"1"), ("a", None), ("é", b"")]
    )
    assert client.flush(5) == 0


def test_topics_are_there_from_the_start(start_service):
    cluster = cluster_of(start_service("kafka"))
    for topic in ("sales_events", "sales_events_dlq"):
        assert topic_offsets(cluster, topic) == dict.fromkeys(PARTITIONS, (0, 0))


def test_a_stop_and_two_kills_keep_every_message_at_its_offset(start_service):
    kafka = start_service("kafka")
    publish(cluster_of(kafka), sale_events(1, 5_000))
    produce_oddities(cluster_of(kafka))
    publish(cluster_of(kafka), sale_events(2, 100), topic="made_by_use")
    before = read_all(cluster_of(kafka), "sales_events"), read_all(cluster_of(kafka), "made_by_use")
    assert kafka.stop() == 0

    kafka.start()
    assert (read_all(cluster_of(kafka), "sales_events"), read_all(cluster_of(kafka), "made_by_use")) == before
    kafka.kill()
    with (kafka.home / "journal/sales_events/0.log").open("ab") as file:
        file.write(b"\x00\x00\x01\x00torn")

    kafka.start()
    assert kafka.facts["lost"] == 0
    assert "cut off a torn frame of 8 bytes" in kafka.log()
    assert read_all(cluster_of(kafka), "sales_events") == before[0]
    publish(cluster_of(kafka), sale_events(3, 400))
    after = read_all(cluster_of(kafka), "sales_events")
    assert {p: rows[: len(before[0][p])] for p, rows in after.items()} == before[0]
    assert sum(map(len, after.values())) == sum(map(len, before[0].values())) + 400
    time.sleep(0.3)
    kafka.kill()

    kafka.start()
    assert read_all(cluster_of(kafka), "sales_events") == after


def test_messages_that_escaped_the_journal_are_told_and_shift_no_offset(start_service, tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.append("sales_events", 2, [Record(0, 1, b"k", b"a", []), Record(3, 2, b"k", b"b", [])])
    kafka = start_service("kafka", home=tmp_path)
    rows = read_all(cluster_of(kafka), "sales_events")[2]
    assert kafka.facts["lost"] == 2
    assert [(offset, value) for offset, _, _, value, _ in rows] == [
        (0, b"a"),
        (1, None),
        (2, None),
        (3, b"b"),
    ]
    assert [headers for *_, headers in rows[1:3]] == [[(LOST_HEADER, b"1")]] * 2


def produce_megabytes(cluster: KafkaCluster, topic: str, count: int, pause: float) -> None:
    client = Producer(cluster.client_config() | {"linger.ms": 5})
    for number in range(count):
        client.produce(topic, b"%03d" % number + bytes(100_000), partition=1)
        if number % 20 == 19:
            assert client.flush(20) == 0
            time.sleep(pause)


def test_more_than_the_broker_keeps_moves_its_start_but_stays_in_the_journal(start_service):
    kafka = start_service("kafka")
    produce_megabytes(cluster_of(kafka), "sales_events", 120, pause=0.1)
    start, end = topic_offsets(cluster_of(kafka), "sales_events")[1]
    assert 0 < start < end == 120
    assert kafka.stop() == 0
    offsets = [record.offset for record in Journal(kafka.home / "journal").read("sales_events", 1)]
    assert offsets == list(range(120))
    kafka.start()
    assert kafka.facts["lost"] == 0
    assert topic_offsets(cluster_of(kafka), "sales_events")[1][1] == 120


def test_what_leaves_the_broker_before_the_journal_reads_it_is_told(start_service):
    kafka = start_service("kafka")
    # A topic made by use is noticed only after a while.
    produce_megabytes(cluster_of(kafka), "too_fast", 120, pause=0)
    assert kafka.stop() == 0
    lost = json.loads((kafka.home / "ready.json").read_text())["lost"]
    offsets = [record.offset for record in Journal(kafka.home / "journal").read("too_fast", 1)]
    assert offsets == list(range(lost, 120))
    assert lost > 0
    assert "left the broker before the journal read them" in kafka.log()
    kafka.start()
    assert kafka.facts["lost"] == lost
    assert topic_offsets(cluster_of(kafka), "too_fast")[1][1] == 120


def test_lag_is_what_a_group_has_not_committed(start_service):
    cluster = cluster_of(start_service("kafka"))
    publish(cluster, sale_events(1, 500))
    assert sum(group_lag(cluster, "g", "sales_events").values()) == 500
    consumer = Consumer(cluster.client_config() | {"group.id": "g", "enable.auto.commit": False})
    ends = {p: end for p, (_, end) in topic_offsets(cluster, "sales_events").items()}
    consumer.commit(offsets=[TopicPartition("sales_events", 0, ends[0])], asynchronous=False)
    assert group_lag(cluster, "g", "sales_events") == {p: 0 if p == 0 else ends[p] for p in PARTITIONS}
    heard = []
    with pytest.raises(MayHeal, match=f"still {500 - ends[0]} events behind"):
        wait_for_lag(cluster, "g", "sales_events", timeout_seconds=0.2, on_progress=heard.append)
    assert set(heard) == {500 - ends[0]}
    parts = [TopicPartition("sales_events", p, ends[p] - 1) for p in PARTITIONS]
    consumer.commit(offsets=parts, asynchronous=False)
    consumer.close()
    assert wait_for_lag(cluster, "g", "sales_events", at_most=4) == dict.fromkeys(PARTITIONS, 1)


def test_an_unreachable_cluster_may_heal(monkeypatch):
    monkeypatch.setattr("tasks.kafka.TIMEOUT_SECONDS", 0.3)
    with pytest.raises(MayHeal, match="does not answer"):
        topic_offsets(KafkaCluster(bootstrap_servers="127.0.0.1:1"), "sales_events")


def test_it_stops_with_its_owner(start_service):
    kafka = start_service("kafka")
    publish(cluster_of(kafka), sale_events(1, 50))
    kafka.process.stdin.close()
    assert kafka.process.wait(10) == 0
    journal = Journal(kafka.home / "journal")
    assert sum(len(list(journal.read(*part))) for part in journal.partitions()) == 50


def test_a_journal_gives_back_what_was_appended(tmp_path):
    journal = Journal(tmp_path)
    first = [Record(0, 5, None, b"x", []), Record(1, 6, b"", None, [("h", None), ("h", b"\x00")])]
    journal.append("t", 3, first)
    journal.append("t", 3, [Record(2, 7, b"k", b"", [("é", b"y")])])
    assert list(journal.partitions()) == [("t", 3)]
    assert list(journal.read("t", 3)) == [*first, Record(2, 7, b"k", b"", [("é", b"y")])]
    file = tmp_path / "t" / "3.log"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert list(journal.read("t", 3)) == first
    journal.append("t", 3, [Record(2, 7, b"k", b"", [("é", b"y")])])
    assert file.read_bytes() == whole
