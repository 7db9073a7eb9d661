"""The look at the stream against a real broker and the embedded warehouse: what it measures, what it keeps."""

import json
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from prefect.logging import disable_run_logger

from blocks.errors import MayHeal, WillNotHeal
from blocks.kafka import KafkaCluster
from blocks.warehouse import SalesWarehouse
from streaming.generator import sale_events
from tasks.findings import Finding
from tasks.kafka import wait_for_stream
from tasks.stream_limits import StreamLimits
from tasks.stream_news import record, why_left_out
from tasks.stream_trend import Progress
from tasks.stream_watch import (
    last_looks,
    look_at_flow,
    look_at_topics,
    newest_events,
    newest_landed,
)

LIMITS = StreamLimits(trend_seconds=0.5, keeps_pace_seconds=5)


@pytest.fixture(scope="module")
def warehouse(serve_warehouse) -> SalesWarehouse:
    return serve_warehouse("file:///tmp/processed/")


@pytest.fixture(scope="module")
def cluster(start_service) -> KafkaCluster:
    return KafkaCluster(bootstrap_servers=start_service("kafka").facts["bootstrap"])


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("tasks.kafka.TIMEOUT_SECONDS", 2)


def run(warehouse: SalesWarehouse, sql: str, *parameters: object) -> None:
    with warehouse.session() as connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)


def produce(cluster: KafkaCluster, topic: str, count: int, partition: int = 0) -> None:
    client = Producer(cluster.client_config())
    for number in range(count):
        client.produce(topic, str(number), partition=partition)
    assert client.flush(5) == 0


def commit(cluster: KafkaCluster, offset: int, partition: int = 0) -> None:
    consumer = Consumer(cluster.client_config() | {"group.id": "connect-snowflake_sink"})
    consumer.commit(offsets=[TopicPartition("sales_events", partition, offset)], asynchronous=False)
    consumer.close()


def land(warehouse: SalesWarehouse, rows: list[tuple[dict, object]]) -> None:
    data = json.dumps(
        [{"m": {"topic": "sales_events"} | metadata, "c": content} for metadata, content in rows]
    )
    run(
        warehouse,
        "insert into RAW.SALES_RAW select f.value:m, f.value:c from table(flatten(input => parse_json(%s))) f",
        data,
    )


def look(cluster: KafkaCluster, warehouse: SalesWarehouse) -> dict[str, Finding]:
    findings = list(look_at_flow(cluster, warehouse, LIMITS))
    record(warehouse, "test", findings)
    return {finding.check: finding for finding in findings}


def test_a_broker_that_is_away_is_the_only_finding():
    (finding,) = look_at_topics(KafkaCluster(bootstrap_servers="127.0.0.1:1"))
    assert (finding.check, finding.status) == ("brokers", "fail")
    assert finding.value.startswith("Kafka at 127.0.0.1:1 does not answer: ")
    assert finding.advice == "See that the brokers run and that this machine may reach them."


def test_topics_are_held_against_what_the_block_declares(cluster):
    assert [f.status for f in look_at_topics(cluster)] == ["ok", "ok"]
    other = look_at_topics(cluster.model_copy(update={"topic_partitions": 12}))[1]
    assert (other.status, other.value) == ("warn", "sales_events has 4 partitions.")


def test_looks_follow_each_other(cluster, warehouse):
    first = look(cluster, warehouse)
    assert {check: f.status for check, f in first.items()} == dict.fromkeys(
        ("lag", "landing", "event schema", "dead letters"), "ok"
    )
    assert first["landing"].value == "Nothing has landed yet."

    produce(cluster, "sales_events", 40)
    produce(cluster, "sales_events_dlq", 3, partition=2)
    stuck = look(cluster, warehouse)
    assert (stuck["lag"].status, stuck["lag"].measured) == ("warn", 40)
    assert "(by partition: {0: 40}), caught up never." in stuck["lag"].value
    assert (stuck["dead letters"].status, stuck["dead letters"].measured) == ("warn", 3)

    # A minute and a half later, as far as the kept look knows, 30 of them are done.
    run(
        warehouse,
        "update MONITORING.STREAM_HEALTH set details = parse_json(%s) where check_name = 'lag'",
        json.dumps({"at": time.time() - 90, "passed": {"0": 0}, "ends": {"0": 40}}),
    )
    commit(cluster, 30)
    began = time.monotonic()
    moving = look(cluster, warehouse)
    assert time.monotonic() - began < LIMITS.trend_seconds + 1
    assert (moving["lag"].status, moving["lag"].measured) == ("ok", 10)
    assert "caught up in 30 s" in moving["lag"].value
    assert (moving["dead letters"].status, moving["dead letters"].value) == (
        "ok",
        "3 dead letters, 0 of them new.",
    )

    produce(cluster, "sales_events_dlq", 2, partition=1)
    assert look(cluster, warehouse)["dead letters"].measured == 2
    kept = warehouse.rows(
        "select count(*) as n, count(distinct check_name) as checks from MONITORING.STREAM_HEALTH"
    )
    assert (int(kept[0]["n"]), int(kept[0]["checks"])) == (16, 4)


def test_only_the_newest_offsets_are_looked_at(warehouse):
    events = [event for event in sale_events(5, 40) if isinstance(event, dict)]
    base = {"partition": 1, "SnowflakeConnectorPushTime": 1_700_000_002_500}
    land(
        warehouse,
        [
            (base | {"offset": n, "CreateTime": 1_700_000_000_000 + n}, event) for n, event in enumerate(events)
        ]
        + [
            ({"partition": 1, "offset": 40, "CreateTime": 1_700_000_001_000}, None),
            ({"partition": 2, "offset": 0, "LogAppendTime": 1_700_000_002_000}, [1, None]),
            # Far behind, of another topic, and not committed: none of them counts.
            ({"partition": 3, "offset": 7, "CreateTime": 1_800_000_000_000}, {"old": 1}),
            ({"partition": 1, "offset": 41, "CreateTime": 1_800_000_000_000}, {"uncommitted": 1}),
            ({"topic": "other", "partition": 1, "offset": 40, "CreateTime": 1_800_000_000_000}, {"other": 1}),
        ],
    )  # fmt: skip
    now = Progress(0, {1: 41, 2: 1, 3: 5000}, {1: 41, 2: 1, 3: 5000})
    assert newest_landed(warehouse, now) == (1_700_000_002.0, 1_700_000_002.5)
    found = newest_events(warehouse, now)
    assert len(found) == 24 + 1  # offsets 16 to 39 of partition 1, one of partition 2; the NULL is no event
    assert [1, None] in found
    assert events[15] not in found
    assert events[16]["event_id"] in {event["event_id"] for event in found if isinstance(event, dict)}
    assert newest_landed(warehouse, Progress(0, {0: 0}, {0: 0})) == (None, None)


def test_a_stream_that_does_not_come_near_in_time_stops_only_who_requires_it(cluster, monkeypatch):
    monkeypatch.setattr("tasks.kafka.load_block", lambda _kind, _name: cluster)
    produce(cluster, "sales_events", 5, partition=3)
    with disable_run_logger():
        with pytest.raises(MayHeal, match=r"is still \d+ events behind on sales_events after 0 s"):
            wait_for_stream.fn(0, 0.1, required=True)
        assert "events behind on sales_events" in wait_for_stream.fn(0, 0.1, required=False)
        assert wait_for_stream.fn(1000, 0.1, required=True) == ""


def test_only_what_carries_events_leaves_the_stream_out():
    fine = [Finding("lag", "fail", "v", "t", "a"), Finding("connector", "warn", "v", "t", "a")]
    assert why_left_out(fine, required=True) == ""
    broken = [*fine, Finding("connector", "fail", "It FAILED.", "t", "Mend it.")]
    assert why_left_out(broken, required=False) == "❌ connector: It FAILED. Mend it."
    with pytest.raises(WillNotHeal, match=r"(?s)requires it \(require_stream\).*It FAILED. Mend it."):
        why_left_out(broken, required=True)


def test_a_warehouse_that_is_away_is_a_finding_beside_the_lag(cluster, warehouse, monkeypatch):
    monkeypatch.setattr("blocks.warehouse.LOGIN_TIMEOUT_SECONDS", 1)
    away = warehouse.model_copy(update={"server_url": "http://127.0.0.1:1"})
    found = list(look_at_flow(cluster, away, LIMITS))
    assert (found[0].check, found[0].status) == ("warehouse", "fail")
    assert "cannot be reached" in found[0].value
    assert [f.check for f in found] == ["warehouse", "lag"]


def test_what_a_look_keeps_comes_back_as_it_was(warehouse):
    endless = Finding("lag", "fail", 'it\'s "never"', "t", "a", float("inf"), {"at": 1.5, "ends": {3: 9}})
    record(warehouse, "kept", [endless, Finding("connector", "ok", "v", "t", "", 2)])
    rows = warehouse.rows(
        "select check_name, status, observed, threshold, advice, measured, looked_at from MONITORING.STREAM_HEALTH "
        "where run_id = 'kept' order by check_name"
    )
    assert [(r["check_name"], r["status"], r["observed"], r["advice"]) for r in rows] == [
        ("connector", "ok", "v", ""),
        ("lag", "fail", 'it\'s "never"', "a"),
    ]
    assert (rows[0]["measured"], rows[1]["measured"]) == (2, None)
    assert last_looks(warehouse)["lag"] == {"at": 1.5, "ends": {"3": 9}}
