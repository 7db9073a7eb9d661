"""The embedded Kafka Connect answers as the real one, and its sink writes every event exactly once."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import snowflake.connector
from confluent_kafka import Consumer, Producer, TopicPartition

from blocks.errors import MayHeal, WillNotHeal
from blocks.kafka import KafkaCluster
from blocks.kafka_connect import KafkaConnect
from blocks.names import CONNECTOR
from streaming.generator import sale_events
from streaming.producer import publish
from tasks.connector_config import render_connector
from tasks.connector_state import ConnectorStatus, TaskState, WorkerState, require_healthy
from tasks.kafka import group_lag, topic_offsets, wait_for_lag
from tasks.kafka_connect import apply_connector, connector_status, restart_failed
from tests.contract.connector_settings import SETTINGS


class Warehouse:
    """A Snowflake stand-in on a port of its own, with the tables the sinks of these tests write to."""

    def __init__(self, start_service: Callable) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.service = start_service("snowflake", "--port", str(self.port))
        self.url = self.service.facts["url"]
        self.run("create database if not exists SALES_DW")
        self.run("create schema if not exists SALES_DW.RAW")

    def run(self, sql: str) -> list[tuple]:
        connection = snowflake.connector.connect(
            account="t", user="t", password="t", host="127.0.0.1", port=self.port, protocol="http"
        )
        try:
            return connection.cursor().execute(sql).fetchall()
        finally:
            connection.close()

    def records(self, table: str) -> list[tuple[dict, Any]]:
        rows = self.run(f"select RECORD_METADATA, RECORD_CONTENT from SALES_DW.RAW.{table}")
        return [(json.loads(metadata), content and json.loads(content)) for metadata, content in rows]


class Pipe:
    """A broker, a Connect worker and one sink from topic to table, both named after the connector."""

    def __init__(self, name: str, warehouse: Warehouse, kafka: Any, worker: Any) -> None:
        self.name, self.topic, self.table = name, f"{name}_events", f"{name}_raw".upper()
        self.warehouse, self.kafka, self.worker = warehouse, kafka, worker
        self.create_table()
        self.config = render_connector(SETTINGS | {"snowflake_endpoint": warehouse.url}) | {
            "topics": self.topic,
            "snowflake.topic2table.map": f"{self.topic}:{self.table}",
            "errors.deadletterqueue.topic.name": f"{name}_dlq",
        }

    def create_table(self) -> None:
        columns = "(record_metadata variant, record_content variant)"
        self.warehouse.run(f"create table SALES_DW.RAW.{self.table} {columns}")

    def count(self) -> int:
        return self.warehouse.run(f"select count(*) from SALES_DW.RAW.{self.table}")[0][0]

    @property
    def cluster(self) -> KafkaCluster:
        return KafkaCluster(bootstrap_servers=self.kafka.facts["bootstrap"])

    @property
    def connect(self) -> KafkaConnect:
        return KafkaConnect(url=self.worker.facts["url"])

    def apply(self, **changes: str) -> None:
        apply_connector(self.connect, self.config | changes, self.name)
        self.wait_until(lambda status: status.healthy)

    def wait_until(self, good: Callable[[ConnectorStatus], bool], seconds: float = 30) -> ConnectorStatus:
        deadline = time.monotonic() + seconds
        while not good(status := connector_status(self.connect, self.name)):
            assert time.monotonic() < deadline, (status, self.worker.log()[-3000:])
            time.sleep(0.05)
        return status

    def drain(self) -> None:
        wait_for_lag(self.cluster, f"connect-{self.name}", self.topic, timeout_seconds=30)

    def publish(self, events: Any, **how: Any) -> Any:
        return publish(self.cluster, events, self.topic, validate=False, **how)

    def dead_letters(self) -> list[dict[str, bytes]]:
        topic = f"{self.name}_dlq"
        ends = {partition: end for partition, (_, end) in topic_offsets(self.cluster, topic).items()}
        config = {"group.id": "t", "fetch.wait.max.ms": 10, "log_level": 2}
        consumer = Consumer(self.cluster.client_config() | config)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
        messages = consumer.consume(sum(ends.values()), timeout=10) if sum(ends.values()) else []
        consumer.close()
        return [dict(message.headers()) | {"value": message.value()} for message in messages]


@pytest.fixture(scope="module")
def warehouse(start_service) -> Warehouse:
    return Warehouse(start_service)


@pytest.fixture(scope="module")
def own_pipe(start_service, warehouse) -> Callable[[str], Pipe]:
    """Make a pipe with a broker and a worker of its own, to be killed at will."""

    def make(name: str, patience: str = "20") -> Pipe:
        kafka = start_service("kafka")
        address = str(kafka.home / "ready.json")
        return Pipe(
            name, warehouse, kafka, start_service("connect", "--bootstrap", address, "--patience", patience)
        )

    return make


@pytest.fixture(scope="module")
def pipe(own_pipe) -> Pipe:
    pipe = own_pipe("steady", patience="3")
    pipe.apply()
    return pipe


@pytest.fixture
def new_pipe(pipe) -> Iterator[Callable[[str], Pipe]]:
    """Make a pipe beside the steady one, by the same broker and worker; its connector goes with the test."""
    made = []

    def make(name: str) -> Pipe:
        made.append(Pipe(name, pipe.warehouse, pipe.kafka, pipe.worker))
        return made[-1]

    yield make
    with pipe.connect.client() as http:
        for each in made:
            http.delete(f"/connectors/{each.name}")


@pytest.fixture
def http(pipe) -> Iterator[httpx.Client]:
    with pipe.connect.client() as client:
        yield client


def test_the_configuration_is_the_real_sinks_and_holds_no_secret():
    config = render_connector(SETTINGS)
    assert config["connector.class"] == "com.snowflake.kafka.connector.SnowflakeStreamingSinkConnector"
    assert config["snowflake.url.name"] == "ab12345.eu-west-1.snowflakecomputing.com:443"
    assert config["snowflake.private.key"] == "${secretsmanager:sales/snowflake-sink:private_key}"
    assert (config["tasks.max"], config["errors.deadletterqueue.topic.replication.factor"]) == ("3", "3")
    assert all(isinstance(value, str) and "{{" not in value for value in config.values())
    with pytest.raises(WillNotHeal, match="snowflake_user"):
        render_connector({key: value for key, value in SETTINGS.items() if key != "snowflake_user"})


def test_the_answers_have_connects_shapes(pipe, http):
    worker = {"state": "RUNNING", "worker_id": "127.0.0.1:8083"}
    status = {"name": "steady", "connector": worker, "tasks": [{"id": 0, **worker}], "type": "sink"}
    config = {**pipe.config, "name": "steady"}
    info = {"name": "steady", "config": config, "tasks": [{"connector": "steady", "task": 0}], "type": "sink"}
    assert set(http.get("/").json()) == {"version", "commit", "kafka_cluster_id"}
    assert http.get("/connectors").json() == ["steady"]
    assert http.get("/connectors", params={"expand": ["status", "info"]}).json() == {
        "steady": {"status": status, "info": info}
    }
    assert http.get("/connectors?expand=status").json() == {"steady": {"status": status}}
    assert http.get("/connectors/steady").json() == info
    assert http.get("/connectors/steady/config").json() == config
    assert http.get("/connectors/steady/status").json() == status


def test_errors_have_connects_shape(pipe, http):
    for method, path in [
        ("GET", "/connectors/none"),
        ("GET", "/connectors/none/config"),
        ("GET", "/connectors/none/offsets"),
        ("PUT", "/connectors/none/pause"),
        ("POST", "/connectors/none/restart?includeTasks=true"),
        ("DELETE", "/connectors/none"),
    ]:
        answer = http.request(method, path)
        assert (answer.status_code, answer.json()) == (
            404,
            {"error_code": 404, "message": "Connector none not found"},
        )
    assert http.get("/connectors/none/status").json()["message"] == "No status found for connector none"


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"topics": None}, 400, 'Missing required configuration "topics" which has no default value.'),
        ({"tasks.max": "0"}, 400, "Value must be at least 1"),
        ({"errors.tolerance": "some"}, 400, "Invalid value some for configuration errors.tolerance"),
        ({"snowflake.enable.schematization": None}, 400, "snowflake.enable.schematization"),
        ({"snowflake.streaming.validate.compatibility.with.classic": None}, 400, "0001"),
        ({"name": "other"}, 400, "doesn't match connector name in the URL (wrong)"),
        ({"connector.class": "com.example.No"}, 500, "Failed to find any class that implements Connector"),
    ],
)
def test_a_wrong_configuration_is_refused(pipe, http, change, status, message):
    config = {key: value for key, value in (pipe.config | change).items() if value is not None}
    answer = http.put("/connectors/wrong/config", json=config)
    assert (answer.status_code, answer.json()["error_code"]) == (status, status)
    assert message in answer.json()["message"]
    assert http.get("/connectors").json() == ["steady"]


def test_a_rows_metadata_is_the_connectors(pipe):
    began = int(time.time() * 1000)
    client = Producer(pipe.cluster.client_config())
    client.produce(
        pipe.topic,
        b'{"a": 1.50, "b": "\xc3\xa9"}',
        key="k",
        partition=0,
        timestamp=1_700_000_000_123,
        headers=[("h", b"x")],
    )
    client.produce(pipe.topic, b"[1, null]", partition=0)
    assert client.flush(5) == 0
    pipe.drain()
    (first, content), (second, other) = pipe.warehouse.records(pipe.table)
    pushed = first.pop("SnowflakeConnectorPushTime")
    assert began <= pushed <= time.time() * 1000
    assert first == {
        "topic": pipe.topic,
        "partition": 0,
        "offset": 0,
        "key": "k",
        "CreateTime": 1_700_000_000_123,
        "headers": {"h": "x"},
    }
    assert set(second) == {"topic", "partition", "offset", "CreateTime", "SnowflakeConnectorPushTime"}
    assert (content, other) == ({"a": 1.5, "b": "é"}, [1, None])
    assert pipe.connect.client().get("/connectors/steady/offsets").json() == {
        "offsets": [
            {"partition": {"kafka_topic": pipe.topic, "kafka_partition": 0}, "offset": {"kafka_offset": 2}}
        ]
    }


def test_what_cannot_be_converted_goes_to_the_dead_letters_with_its_origin(pipe):
    before = len(pipe.warehouse.records(pipe.table))
    start = topic_offsets(pipe.cluster, pipe.topic)[1][1]
    bad = [b"{broken", b"\xff\xfe", b"", b"NaN", b'"\\ud800"']
    client = Producer(pipe.cluster.client_config())
    for value in [*bad, b"null", None, b'{"good": 1}']:
        client.produce(pipe.topic, value, partition=1, headers=[("trace_id", b"t")])
    assert client.flush(5) == 0
    pipe.drain()
    letters = sorted(pipe.dead_letters(), key=lambda letter: int(letter["__connect.errors.offset"]))
    assert [letter.pop("value") for letter in letters] == bad
    for number, letter in enumerate(letters):
        message = letter.pop("__connect.errors.exception.message").decode()
        assert message.startswith(
            "Converting byte[] to Kafka Connect data failed due to serialization error: "
        )
        assert letter == {
            "trace_id": b"t",
            "__connect.errors.topic": pipe.topic.encode(),
            "__connect.errors.partition": b"1",
            "__connect.errors.offset": str(start + number).encode(),
            "__connect.errors.connector.name": b"steady",
            "__connect.errors.task.id": b"0",
            "__connect.errors.stage": b"VALUE_CONVERTER",
            "__connect.errors.class.name": b"org.apache.kafka.connect.json.JsonConverter",
            "__connect.errors.exception.class.name": b"org.apache.kafka.connect.errors.DataException",
        }
    # Tombstones are ignored, as behavior.on.null.values says.
    rows = pipe.warehouse.records(pipe.table)
    assert len(rows) == before + 1
    assert ({"good": 1}, start + 7) in [(content, metadata["offset"]) for metadata, content in rows]


def test_life_of_a_connector(own_pipe):
    pipe = own_pipe("lively")
    client, path = pipe.connect.client(), f"/connectors/{pipe.name}"
    assert apply_connector(pipe.connect, pipe.config, pipe.name) == "created"
    pipe.wait_until(lambda status: status.healthy)
    assert apply_connector(pipe.connect, pipe.config, pipe.name) == "unchanged"
    assert (
        apply_connector(pipe.connect, pipe.config | {"behavior.on.null.values": "DEFAULT"}, pipe.name)
        == "updated"
    )
    pipe.wait_until(lambda status: status.healthy)

    paused = client.put(f"{path}/pause")
    assert (paused.status_code, paused.content) == (202, b"")
    pipe.publish([b"1", b"null"])
    time.sleep(0.6)
    status = connector_status(pipe.connect, pipe.name)
    assert (status.connector.state, [task.state for task in status.tasks]) == ("PAUSED", ["PAUSED"])
    assert pipe.warehouse.records(pipe.table) == []
    with pytest.raises(WillNotHeal, match="Resume it"):
        require_healthy(status)

    assert client.put(f"{path}/resume").status_code == 202
    pipe.drain()
    assert sorted(str(content) for _, content in pipe.warehouse.records(pipe.table)) == ["1", "None"]

    assert client.put(f"{path}/stop").status_code == 204
    status = connector_status(pipe.connect, pipe.name)
    assert (status.connector.state, status.tasks) == ("STOPPED", [])
    pipe.worker.kill()
    pipe.worker.start()
    assert connector_status(pipe.connect, pipe.name).connector.state == "STOPPED"
    with pipe.connect.client() as again:
        again.put(f"{path}/resume")
        pipe.wait_until(lambda status: status.healthy)
        assert again.post(f"{path}/restart").status_code == 204
        answer = again.post(f"{path}/restart", params={"includeTasks": "true"})
        assert (answer.status_code, answer.json()["tasks"][0]["state"]) == (202, "RESTARTING")
        pipe.wait_until(lambda status: status.healthy)
        assert again.delete(path).status_code == 204
        assert again.get("/connectors").json() == []
    assert len(pipe.warehouse.records(pipe.table)) == 2


def test_a_conflict_is_tried_again_and_other_errors_are_explained(pipe, http, monkeypatch):
    http.post("/_standin/faults", json={"status": 409, "count": 2})
    assert connector_status(pipe.connect, "steady").healthy
    http.post("/_standin/faults", json={"status": 401})
    with pytest.raises(WillNotHeal, match="refuses the credentials"):
        connector_status(pipe.connect, "steady")
    with pytest.raises(WillNotHeal, match="No status found for connector none"):
        connector_status(pipe.connect, "none")
    with pytest.raises(WillNotHeal, match="answers 400: Connector configuration is invalid"):
        apply_connector(pipe.connect, {"connector.class": pipe.config["connector.class"]}, "wrong")
    monkeypatch.setattr("tasks.kafka_connect.PATIENCE_SECONDS", 0.5)
    http.post("/_standin/faults", json={"status": 503, "count": 100})
    with pytest.raises(MayHeal, match="answers 503"):
        connector_status(pipe.connect, "steady")
    http.post("/_standin/faults", json={"status": 503, "count": 0})
    with pytest.raises(MayHeal, match="cannot be reached"):
        connector_status(KafkaConnect(url="http://127.0.0.1:1"), "steady")


def test_health_needs_a_task_and_all_of_them_running():
    def status(connector: str, *tasks: str, trace: str | None = None) -> ConnectorStatus:
        states = [TaskState(id=number, state=state, trace=trace) for number, state in enumerate(tasks)]
        return ConnectorStatus(name=CONNECTOR, connector=WorkerState(state=connector), tasks=states)

    require_healthy(status("RUNNING", "RUNNING", "RUNNING"))
    for waiting in (status("RUNNING"), status("UNASSIGNED", "RUNNING"), status("RUNNING", "RESTARTING")):
        with pytest.raises(MayHeal):
            require_healthy(waiting)
    trace = "ConnectException: Exiting\n\tat x\nCaused by: a.B: the token is gone\n\tat y"
    with pytest.raises(WillNotHeal, match=r"task 1 FAILED: a\.B: the token is gone"):
        require_healthy(status("RUNNING", "RUNNING", "FAILED", trace=trace))


@contextmanager
def in_background(work: Callable[[], Any]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()


def test_kills_in_the_middle_lose_nothing_and_repeat_nothing(own_pipe):
    pipe = own_pipe("killed")
    pipe.apply()
    events = list(sale_events(4, 20_000, invalid_json=25))
    with in_background(lambda: pipe.publish(events, rate=8_000)):
        for committed in (0, 5_000):
            while pipe.count() <= committed:
                time.sleep(0.2)
            time.sleep(0.4)  # into the next batch
            pipe.worker.kill()
            pipe.worker.start()
            assert 0 < pipe.count() < 20_000
    pipe.drain()
    ends = {partition: end for partition, (_, end) in topic_offsets(pipe.cluster, pipe.topic).items()}
    assert sum(ends.values()) == 20_025
    records = pipe.warehouse.records(pipe.table)
    rows = [(metadata["partition"], metadata["offset"]) for metadata, _ in records]
    letters = {
        (int(letter["__connect.errors.partition"]), int(letter["__connect.errors.offset"]))
        for letter in pipe.dead_letters()
    }
    assert len(rows) == len(set(rows)) == 20_000
    assert len(letters) == 25
    assert set(rows) | letters == {
        (partition, offset) for partition, end in ends.items() for offset in range(end)
    }
    sent = {event["event_id"] for event in events if not isinstance(event, bytes)}
    assert {content["event_id"] for _, content in records} == sent


def test_a_broker_that_comes_back_elsewhere_is_found_and_told_the_offsets(own_pipe):
    pipe = own_pipe("moved")
    pipe.apply()
    pipe.publish(sale_events(1, 300))
    pipe.drain()
    group = f"connect-{pipe.name}"
    assert pipe.kafka.stop() == 0
    pipe.kafka.start()
    pipe.drain()
    assert sum(group_lag(pipe.cluster, group, pipe.topic).values()) == 0
    pipe.publish(sale_events(2, 200))
    pipe.drain()
    assert len(pipe.warehouse.records(pipe.table)) == 500

    # A log that is not the one written from must not be taken for new events.
    assert pipe.kafka.stop() == 0
    for file in pipe.kafka.home.glob("journal/*/*.log"):
        file.unlink()
    pipe.kafka.start()
    status = pipe.wait_until(lambda status: "FAILED" in {task.state for task in status.tasks})
    with pytest.raises(WillNotHeal, match="the log ends at 0, but offset"):
        require_healthy(status)


def test_events_that_left_the_log_before_they_were_read_fail_the_task(new_pipe):
    pipe = new_pipe("gappy")
    pipe.apply()
    client = Producer(pipe.cluster.client_config() | {"linger.ms": 5})
    client.produce(pipe.topic, b"1", partition=1)
    assert client.flush(5) == 0
    pipe.drain()
    with pipe.connect.client() as http:
        http.put(f"/connectors/{pipe.name}/stop")
        for _ in range(80):
            client.produce(pipe.topic, b'"' + b"x" * 100_000 + b'"', partition=1)
        assert client.flush(20) == 0
        http.put(f"/connectors/{pipe.name}/resume")
    status = pipe.wait_until(lambda status: "FAILED" in {task.state for task in status.tasks})
    low = topic_offsets(pipe.cluster, pipe.topic)[1][0]
    assert (
        f"the log begins at {low}, the next offset to write is 1: {low - 1} events are lost"
        in status.tasks[0].reason
    )
    assert len(pipe.warehouse.records(pipe.table)) == 1


def test_a_missing_table_fails_the_task_at_once_and_a_restart_heals_it(new_pipe):
    pipe = new_pipe("tableless")
    pipe.warehouse.run(f"drop table SALES_DW.RAW.{pipe.table}")
    apply_connector(pipe.connect, pipe.config, pipe.name)
    status = pipe.wait_until(lambda status: "FAILED" in {task.state for task in status.tasks})
    assert "Snowflake refuses to open the channels" in status.tasks[0].reason
    pipe.warehouse.run(
        f"create table SALES_DW.RAW.{pipe.table} (record_metadata variant, record_content variant)"
    )
    assert restart_failed(pipe.connect, pipe.name).tasks[0].state in {"UNASSIGNED", "RUNNING"}
    pipe.wait_until(lambda status: status.healthy)


def test_an_unreachable_snowflake_fails_the_task_after_a_while_and_a_restart_heals_it(new_pipe):
    pipe = new_pipe("patient")
    pipe.apply()
    pipe.publish(sale_events(1, 1_000))
    pipe.drain()
    pipe.warehouse.service.kill()
    pipe.publish(sale_events(2, 1_000))
    status = pipe.wait_until(lambda status: "FAILED" in {task.state for task in status.tasks})
    assert "no progress for" in status.tasks[0].reason
    assert f"Snowflake at {pipe.warehouse.url} cannot be reached" in status.tasks[0].reason
    pipe.warehouse.service.start()
    restart_failed(pipe.connect, pipe.name)
    pipe.wait_until(lambda status: status.healthy)
    pipe.drain()
    offsets = [
        (metadata["partition"], metadata["offset"]) for metadata, _ in pipe.warehouse.records(pipe.table)
    ]
    assert len(offsets) == len(set(offsets)) == 2_000
