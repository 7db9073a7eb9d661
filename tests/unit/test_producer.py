"""The producer, against the broker inside librdkafka: what is sent, what is counted, what is refused."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from blocks.errors import MayHeal, WillNotHeal
from blocks.kafka import KafkaCluster
from streaming import client, delivery
from streaming.exposition import MetricsFile
from streaming.generator import sale_events
from streaming.message import Message
from streaming.producer import Checkpoint, Rejected, publish
from streaming.schema import event_fault
from streaming.spill import Spill


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
    assert heard[-1] is report
    assert (report.taken, report.queued, report.bytes) == (3_000, 0, sum(len(m.value()) for m in messages))
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
    monkeypatch.setitem(client.PRODUCER_CONFIG, "queue.buffering.max.messages", 50)
    assert publish(broker.cluster, sale_events(1, 2_000)).produced == 2_000


def test_an_unreachable_cluster_may_heal_and_is_named(monkeypatch):
    monkeypatch.setattr(delivery, "CONNECT_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(MayHeal, match=r"Kafka at 127\.0\.0\.1:1 cannot be reached"):
        publish(KafkaCluster(bootstrap_servers="127.0.0.1:1"), sale_events(1, 1))


def going_away(broker: Broker, after: int, count: int) -> Iterator[Any]:
    """Events, during which the cluster goes for good once it has the first ones."""
    for number, event in enumerate(sale_events(1, count)):
        if number == after:
            while len(broker.messages("sales_events")) < after:
                yield None
                time.sleep(0.05)
            del broker.client
        yield event


def test_without_a_spill_failed_deliveries_are_raised_with_their_counts():
    broker = Broker()
    with pytest.raises(MayHeal, match=r"20 of 30 events could not be delivered .*; 10 were"):
        publish(broker.cluster, going_away(broker, 10, 30), patience=1)


def test_what_the_cluster_does_not_take_is_spilled_and_sent_first_by_the_next_start(tmp_path: Path):
    broker, other, events = Broker(), Broker(), list(sale_events(1, 60))
    with pytest.raises(MayHeal, match=r"50 events wait in .*Nothing is lost"):
        publish(broker.cluster, going_away(broker, 10, 60), patience=1, spill=tmp_path)
    report = publish(other.cluster, sale_events(2, 5), spill=tmp_path)
    assert (report.taken, report.resent, report.produced, report.waiting) == (5, 50, 55, 0)
    assert list(tmp_path.glob("*.jsonl")) == []
    messages = other.messages("sales_events")
    found = [json.loads(message.value())["event_id"] for message in messages]
    assert sorted(found) == sorted(
        [event["event_id"] for event in events[10:]] + [event["event_id"] for event in sale_events(2, 5)]
    )
    first = next(message for message in messages if json.loads(message.value()) == events[10])
    assert dict(first.headers())["trace_id"].decode() == events[10]["event_id"].replace("-", "")
    assert first.key().decode() == events[10]["order_id"]


def test_one_order_spilled_keeps_its_place(tmp_path: Path):
    broker, other = Broker(), Broker()
    template = next(iter(sale_events(1, 1)))
    told = [template | {"quantity": number} for number in range(1, 3_001)]

    def events() -> Iterator[Any]:
        yield from told[:100]
        yield Checkpoint(lambda: None)
        del broker.client
        for event in told[100:]:
            yield event
            time.sleep(0.001)  # so that it goes on while the first are given up

    with pytest.raises(MayHeal, match="2900 events wait"):
        publish(broker.cluster, events(), patience=1, spill=tmp_path)
    publish(other.cluster, [template | {"quantity": 5_000}], spill=tmp_path)
    found = [json.loads(message.value())["quantity"] for message in other.messages("sales_events")]
    assert found == [*range(101, 3_001), 5_000]


def test_a_stop_ends_it_in_order_and_spills_the_rest(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(delivery, "STOP_SECONDS", 0.5)
    broker, asked = Broker(), []

    def events() -> Iterator[Any]:
        for number, event in enumerate(going_away(broker, 10, 1_000)):
            if number == 200:
                asked.append(True)
            yield event

    began = time.monotonic()
    report = publish(broker.cluster, events(), spill=tmp_path, stop=lambda: bool(asked))
    assert time.monotonic() - began < 8
    assert report.taken < 200
    assert report.produced + report.waiting == report.taken
    assert report.waiting >= 100


def test_a_checkpoint_is_reached_when_all_before_it_are_confirmed(broker):
    reached = []

    def events() -> Iterator[Any]:
        for seed in (1, 2):
            yield from sale_events(seed, 500)
            yield Checkpoint(lambda: reached.append(len(broker.messages("sales_events"))))

    publish(broker.cluster, events())
    assert reached == [500, 1_000]


def test_a_source_may_reject_an_event_itself(broker):
    good = next(iter(sale_events(1, 1)))
    report = publish(broker.cluster, [Rejected(b"a;b", "malformed_row"), Rejected(good, "too_dear"), good])
    letters = broker.messages("sales_events_dlq")
    assert (report.produced, report.rejected) == (1, 2)
    assert sorted((dict(letter.headers())["error.reason"], letter.value()[:3]) for letter in letters) == [
        (b"malformed_row", b"a;b"),
        (b"too_dear", b'{"e'),
    ]


def test_an_event_too_large_for_the_cluster_becomes_a_dead_letter_cut_short(broker):
    large = next(iter(sale_events(1, 1))) | {"product_name": "x" * 2_000_000}
    report = publish(broker.cluster, [*sale_events(2, 10), large])
    (letter,) = broker.messages("sales_events_dlq")
    headers = dict(letter.headers())
    assert (report.produced, report.rejected) == (10, 1)
    assert b"too large" in headers["error.reason"]
    assert len(letter.value()) == 500_000
    assert int(headers["error.value_bytes"]) > 2_000_000


def test_numbers_beyond_64_bits_and_halves_of_characters_are_sent_as_json(broker):
    odd = next(iter(sale_events(1, 1))) | {"line_number": 10**30, "country": "\ud800"}
    publish(broker.cluster, [odd])
    (message,) = broker.messages("sales_events")
    assert json.loads(message.value()) == odd


def test_events_before_an_error_of_their_source_are_delivered(broker):
    def events() -> Iterator[Any]:
        yield from sale_events(1, 300)
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        publish(broker.cluster, events())
    assert len(broker.messages("sales_events")) == 300


def message(number: int) -> Message:
    return Message("t", None if number % 2 else f"k{number}", b"v\xff\x00 \n%d" % number, [("h", b"\xfe")])


def test_a_spill_gives_back_what_was_put_in_segment_by_segment(tmp_path, monkeypatch):
    monkeypatch.setattr("streaming.spill.SEGMENT_MESSAGES", 4)
    spill = Spill(tmp_path)
    for number in range(10):
        spill.append(message(number))
    spill.close()
    again, found = Spill(tmp_path), []
    assert len(again) == 10
    while segment := again.first():
        found.append(again.read(segment))
        again.remove(segment, len(found[-1]))
    assert [len(part) for part in found] == [4, 4, 2]
    assert [each for part in found for each in part] == [message(number) for number in range(10)]
    assert not again
    again.append(message(11))
    assert again.read(again.first()) == [message(11)]


def test_a_torn_last_line_was_never_promised_but_any_other_is_an_error(tmp_path):
    spill = Spill(tmp_path)
    for number in range(3):
        spill.append(message(number))
    spill.close()
    (file,) = tmp_path.glob("*.jsonl")
    whole = file.read_text()
    file.write_text(whole[:-5])
    torn = Spill(tmp_path)
    assert torn.read(torn.first()) == [message(0), message(1)]
    torn.append(message(7))
    torn.close()
    assert len(Spill(tmp_path)) == 3
    file.write_text(whole.replace('"t"', "t", 1))
    with pytest.raises(WillNotHeal, match=r"Line 1 of .*000000001\.jsonl cannot be read"):
        Spill(tmp_path)


def test_a_spill_is_used_by_one_producer_at_a_time(tmp_path):
    first = Spill(tmp_path)
    with pytest.raises(MayHeal, match="Another producer is using the spill"):
        Spill(tmp_path)
    first.close()
    Spill(tmp_path).close()


def test_a_full_spill_takes_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("streaming.spill.MOST_MESSAGES", 2)
    spill = Spill(tmp_path)
    for number in range(2):
        spill.require_room()
        spill.append(message(number))
    with pytest.raises(MayHeal, match="nothing more is taken until the cluster has them"):
        spill.require_room()


def test_counts_are_written_as_prometheus_reads_them(broker, tmp_path: Path):
    metrics = MetricsFile(tmp_path / "deep" / "producer.prom")
    report = publish(broker.cluster, sale_events(1, 50, contract_breaks=2), on_progress=metrics.update)
    report.waiting = 7
    assert 'outcome="produced"} 50.0' in metrics.path.read_text()
    metrics.update(report)  # too soon for another one
    assert "spill_length 7.0" not in metrics.path.read_text()
    metrics.update(report, now=True)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.path.read_text())
        for sample in family.samples
    }
    assert samples.pop(("sales_producer_seconds_total",)) > 0
    assert samples == {
        ("sales_producer_events_total", "produced"): 50,
        ("sales_producer_events_total", "dead_lettered"): 2,
        ("sales_producer_events_total", "failed"): 0,
        ("sales_producer_events_total", "spilled"): 0,
        ("sales_producer_events_total", "resent"): 0,
        ("sales_producer_taken_total",): 52,
        ("sales_producer_bytes_total",): report.bytes,
        ("sales_producer_queue_length",): 0,
        ("sales_producer_spill_length",): 7,
    }
    assert [path.name for path in metrics.path.parent.iterdir()] == ["producer.prom"]
