"""The producer, against the broker inside librdkafka: what is sent, what is counted, what is refused."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from blocks.errors import MayHeal
from blocks.kafka import KafkaCluster
from streaming import producer
from streaming.generator import sale_events, write_store_files
from streaming.producer import at_recorded_speed, csv_events, publish, replay
from streaming.schema import event_fault


class Broker:
    def __init__(self) -> None:
        self.client = Producer({"test.mock.num.brokers": 1, "log_level": 2})
        (broker,) = self.client.list_topics(timeout=5).brokers.values()
        self.cluster = KafkaCluster(bootstrap_servers=f"{broker.host}:{broker.port}")

    def messages(self, topic: str) -> list:
        consumer = Consumer(
            self.cluster.client_config() | {"group.id": "t", "fetch.wait.max.ms": 10, "log_level": 2}
        )
        parts = [TopicPartition(topic, number, 0) for number in range(4)]
        count = sum(consumer.get_watermark_offsets(part, timeout=5)[1] for part in parts)
        consumer.assign(parts)
        found = consumer.consume(count, timeout=10) if count else []
        consumer.close()
        assert len(found) == count
        return found


@pytest.fixture
def broker() -> Iterator[Broker]:
    return Broker()


def test_every_event_arrives_once_keyed_and_with_headers(broker):
    events = list(sale_events(1, 3_000))
    heard = []
    report = publish(broker.cluster, events, "sales_events", on_progress=heard.append)
    messages = broker.messages("sales_events")
    assert (report.produced, report.rejected, report.failed) == (3_000, 0, 0)
    assert heard[-1] == 3_000
    assert report.offsets == {
        partition: (0, max(m.offset() for m in messages if m.partition() == partition))
        for partition in {m.partition() for m in messages}
    }
    by_id = {event["event_id"]: event for event in events}
    for message in messages:
        event = json.loads(message.value())
        assert event == by_id.pop(event["event_id"])
        assert message.key().decode() == event["order_id"]
        assert dict(message.headers()) == {
            "schema_version": b"1",
            "source": b"web_shop",
            "trace_id": event["event_id"].replace("-", "").encode(),
        }
    assert not by_id
    partitions = {}
    for message in messages:
        assert partitions.setdefault(message.key(), message.partition()) == message.partition()


def test_faulty_events_go_to_the_dead_letters_with_the_reason(broker):
    events = sale_events(1, 100, invalid_json=3, contract_breaks=4)
    report = publish(broker.cluster, events, "sales_events")
    letters = broker.messages("sales_events_dlq")
    assert (report.produced, report.rejected) == (100, 7)
    assert len(broker.messages("sales_events")) == 100
    assert len(letters) == 7
    for letter in letters:
        assert dict(letter.headers())["error.reason"].decode() == event_fault(letter.value())


def test_unvalidated_events_are_sent_as_they_are(broker):
    report = publish(broker.cluster, sale_events(1, 100, invalid_json=3, contract_breaks=4), validate=False)
    assert (report.produced, report.rejected) == (107, 0)
    assert sum(event_fault(message.value()) is not None for message in broker.messages("sales_events")) == 7


def test_the_rate_is_kept(broker):
    report = publish(broker.cluster, sale_events(1, 200), rate=400)
    assert 0.45 < report.seconds < 2


def test_more_events_than_the_queue_holds_wait_for_the_cluster(broker, monkeypatch):
    monkeypatch.setitem(producer.PRODUCER_CONFIG, "queue.buffering.max.messages", 50)
    assert publish(broker.cluster, sale_events(1, 2_000)).produced == 2_000


def test_an_unreachable_cluster_may_heal_and_is_named(monkeypatch):
    monkeypatch.setattr(producer, "CONNECT_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(MayHeal, match=r"Kafka at 127\.0\.0\.1:1 cannot be reached"):
        publish(KafkaCluster(bootstrap_servers="127.0.0.1:1"), sale_events(1, 1))


def test_failed_deliveries_are_raised_with_their_counts(monkeypatch):
    monkeypatch.setitem(producer.PRODUCER_CONFIG, "delivery.timeout.ms", 1_000)
    broker = Broker()

    def events() -> Iterator:
        for number, event in enumerate(sale_events(1, 30)):
            if number == 10:
                while len(broker.messages("sales_events")) < 10:
                    time.sleep(0.05)
                del broker.client  # the cluster is gone
            yield event

    with pytest.raises(MayHeal, match=r"20 of 30 events could not be delivered .*; 10 were"):
        publish(broker.cluster, events())


def test_a_replayed_file_gives_the_same_events_each_time(broker, tmp_path: Path):
    truths = write_store_files(tmp_path, seed=1, files=1, rows=1_000, duplicate_share=0)
    (name,), (truth,) = truths, truths.values()
    first, second = (list(csv_events(tmp_path / name, "replayed")) for _ in range(2))
    assert first == second
    assert len({event["event_id"] for event in first}) == 1_000
    good = [event for event in first if event_fault(event) is None]
    assert len(good) == truth.rows_valid
    assert {event["source"] for event in good} == {"replayed"}
    report = replay(broker.cluster, tmp_path / name, "replayed")
    assert (report.produced, report.rejected) == (truth.rows_valid, truth.rows_quarantined)


def test_recorded_speed_keeps_the_gaps_and_does_not_wait_for_what_it_cannot_read():
    times = ["2025-01-01T00:00:00Z", "2025-01-01T00:10:00Z", None, "soon", "2025-01-01T00:05:00Z"]
    began, passed = time.monotonic(), []
    for _ in at_recorded_speed([{"updated_at": moment} for moment in times], speed=2_000):
        passed.append(time.monotonic() - began)
    assert passed[0] < 0.1
    assert 0.29 < passed[1] < 0.5
    assert passed[4] - passed[1] < 0.1
