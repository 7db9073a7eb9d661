"""The producer against the embedded broker, which goes away, and killed itself: nothing is lost, order is kept."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from blocks.kafka import KafkaCluster
from blocks.settings import PROJECT
from streaming.generator import sale_events
from streaming.producer import publish
from streaming.spill import Spill

PARTITIONS = range(4)


def cluster_of(service: Any) -> KafkaCluster:
    return KafkaCluster(bootstrap_servers=service.facts["bootstrap"])


def told(cluster: KafkaCluster, topic: str = "sales_events") -> list[dict[str, Any]]:
    """Every event on the topic; those of a partition in the order of their offsets."""
    consumer = Consumer(cluster.client_config() | {"group.id": "t", "fetch.wait.max.ms": 10, "log_level": 2})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in PARTITIONS]
    consumer.assign([TopicPartition(topic, p, 0) for p in PARTITIONS])
    found = consumer.consume(sum(ends), timeout=20) if sum(ends) else []
    consumer.close()
    assert len(found) == sum(ends)
    return [json.loads(message.value()) for message in found]


def by_order(events: list[Any]) -> dict[str, list[str]]:
    """The ids of each order's events, in the order in which they were told first."""
    orders: dict[str, dict[str, None]] = {}
    for event in events:
        orders.setdefault(event["order_id"], {})[event["event_id"]] = None
    return {order: list(ids) for order, ids in orders.items()}


@contextmanager
def away(service: Any, seconds: float, after: float = 1.0) -> Iterator[None]:
    """Have the broker stand still, after a while and for a while, beside what the `with` does."""

    def stand_still() -> None:
        time.sleep(after)
        os.kill(service.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(service.process.pid, signal.SIGCONT)

    thread = threading.Thread(target=stand_still)
    thread.start()
    yield
    thread.join()


def test_a_broker_that_is_away_for_ten_seconds_costs_nothing_but_time(start_service, tmp_path):
    kafka, events = start_service("kafka"), list(sale_events(1, 6_000))
    with away(kafka, 10):
        report = publish(cluster_of(kafka), events, rate=1_500, spill=tmp_path)
    found = told(cluster_of(kafka))
    assert (report.produced, report.spilled, report.waiting) == (6_000, 0, 0)
    assert report.seconds > 10
    assert len(found) == 6_000
    assert by_order(found) == by_order(events)


def test_a_broker_away_longer_than_patience_gets_everything_later_in_order(start_service, tmp_path):
    kafka, events = start_service("kafka"), list(sale_events(1, 9_000))
    with away(kafka, 6):
        report = publish(cluster_of(kafka), events, rate=800, spill=tmp_path, patience=2)
    found = told(cluster_of(kafka))
    assert report.spilled > 1_000
    assert (report.resent, report.waiting) == (report.spilled, 0)
    assert list(tmp_path.glob("*.jsonl")) == []
    # What was on its way when the broker stood still may be there twice, under the same id.
    assert 9_000 <= len(found) < 9_000 + 2 * 800 * 3
    assert by_order(found) == by_order(events)


CHILD = """
    import os, signal, sys, time
    from pathlib import Path
    from blocks.kafka import KafkaCluster
    from streaming.generator import sale_events
    from streaming.producer import publish
    from streaming.spill import Spill

    def events():
        for number, event in enumerate(sale_events(1, 2_000)):
            if number == 500:
                Path(sys.argv[2], "stop_now").touch()
                while not Path(sys.argv[2], "go_on").exists():
                    time.sleep(0.05)
            yield event
        while True:
            time.sleep(0.1)
            yield None

    {patch}
    publish(KafkaCluster(bootstrap_servers=sys.argv[1]), {events}, spill=Path(sys.argv[2]), patience=1)
"""


def child(kafka: Any, spill: Path, *, events: str, patch: str = "") -> subprocess.Popen[bytes]:
    code = textwrap.dedent(CHILD).format(events=events, patch=patch)
    return subprocess.Popen([sys.executable, "-c", code, kafka.facts["bootstrap"], str(spill)], cwd=PROJECT)


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def spilled(folder: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in folder.glob("*.jsonl"))


def test_killed_between_spill_and_send_and_between_send_and_removal(start_service, tmp_path):
    kafka, expected = start_service("kafka"), list(sale_events(1, 2_000))
    first = child(kafka, tmp_path, events="events()")
    wait_for((tmp_path / "stop_now").exists)
    time.sleep(0.5)
    os.kill(kafka.process.pid, signal.SIGSTOP)
    (tmp_path / "go_on").touch()
    wait_for(lambda: spilled(tmp_path) >= 1_500)
    first.kill()  # the spill is written, nothing of it is sent
    first.wait(10)
    os.kill(kafka.process.pid, signal.SIGCONT)
    with (next(iter(tmp_path.glob("*.jsonl")))).open("a") as torn:
        torn.write('["sales_events", "A')

    killing = "Spill.remove = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    second = child(kafka, tmp_path, events="[]", patch=killing)
    assert second.wait(60) == -signal.SIGKILL  # all of it is sent, nothing removed
    before = len(told(cluster_of(kafka)))

    report = publish(cluster_of(kafka), [], spill=tmp_path)
    found = told(cluster_of(kafka))
    assert report.resent == report.produced >= 1_500
    assert len(found) == before + report.resent
    assert by_order(found) == by_order(expected)
    assert len(Spill(tmp_path)) == 0


@contextmanager
def sales_produce(home: Path, kafka: Any, *options: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run `sales produce` against a broker alone."""
    environment = {
        **os.environ,
        "SALES_HOME": str(home),
        "SALES_ENVIRONMENT": "test",
        "SALES_SNOWFLAKE_ACCOUNT": "none",
        "SALES_KAFKA_BOOTSTRAP_SERVERS": kafka.facts["bootstrap"],
        "SALES_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        **settings,
    }
    command = [sys.executable, "-m", "cli", "produce", "--yes", *options]
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def offsets(kafka: Any) -> int:
    consumer = Consumer(cluster_of(kafka).client_config() | {"group.id": "o", "log_level": 2})
    parts = [TopicPartition("sales_events", p) for p in PARTITIONS]
    ends = sum(consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts)
    consumer.close()
    return ends


def test_sigterm_ends_the_command_in_order_and_the_next_start_sends_the_rest(start_service, tmp_path):
    kafka, metrics = start_service("kafka"), tmp_path / "producer.prom"
    how = ("--count", "100000", "--rate", "500", "--metrics-file", str(metrics))
    with sales_produce(tmp_path, kafka, *how) as process:
        wait_for(lambda: offsets(kafka) >= 500)
        process.terminate()
        said, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    first = offsets(kafka)
    assert said.startswith(f"{first:,} published, 0 to the dead letters")
    assert f'sales_producer_events_total{{outcome="produced"}} {float(first)}' in metrics.read_text()

    with sales_produce(tmp_path, kafka, "--count", "100000", "--seed", "2", "--rate", "500") as process:
        wait_for(lambda: offsets(kafka) >= first + 500)
        os.kill(kafka.process.pid, signal.SIGSTOP)
        time.sleep(2)
        process.terminate()
        said, errors = process.communicate(timeout=30)
    os.kill(kafka.process.pid, signal.SIGCONT)
    assert process.returncode == 0, errors
    waiting = spilled(tmp_path / "producer" / "test" / "spill")
    assert waiting > 500
    assert f"{waiting:,} wait in" in said.replace("\n", " ")

    with sales_produce(tmp_path, kafka, "--count", "0") as process:
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert said.startswith(f"{waiting:,} published")
    found = [event for event in told(cluster_of(kafka)) if "-2-" in event["order_id"]]
    numbers = [event["event_id"] for event in sale_events(2, 100_000)]
    ids = {event["event_id"] for event in found}
    assert ids == set(numbers[: len(ids)])


def test_the_api_is_polled_to_its_end_through_kills(start_service, tmp_path):
    kafka, token = start_service("kafka"), tmp_path / "token"
    token.write_text("secret-token")
    api = start_service("sales_api", "--token-file", str(token), "--backlog", "4000", "--per-second", "0")
    settings = {"SALES_SALES_API_URL": api.facts["url"], "SALES_SALES_API_TOKEN": "secret-token"}
    cursor = tmp_path / "producer" / "test" / "sales_api.cursor"
    for least in (700, 1_900):
        with sales_produce(tmp_path, kafka, "--api", "--rate", "800", **settings) as process:
            wait_for(lambda least=least: offsets(kafka) >= least)
            assert process.poll() is None
            process.kill()
            process.wait(10)
        assert cursor.exists()
    with sales_produce(tmp_path, kafka, "--api", **settings) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    found = told(cluster_of(kafka))
    ids = {event["event_id"] for event in found}
    assert len(ids) == 4_000
    assert 4_000 <= len(found) <= 4_000 + 2 * 500  # a killed producer is told the page it was at once more
    from local.sales_api import sale, to_cursor

    assert ids == {sale(number)["id"] for number in range(4_000)}
    assert cursor.read_text() == to_cursor(4_000)

    with sales_produce(tmp_path, kafka, "--api", **settings) as process:
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert said.startswith("0 published")
    with sales_produce(
        tmp_path, kafka, "--api", **settings | {"SALES_SALES_API_TOKEN": "wrong-token"}
    ) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "401 Unauthorized. Set SALES_SALES_API_TOKEN" in " ".join(errors.split())
    assert "wrong-token" not in errors


def test_a_file_is_replayed_by_the_command(start_service, tmp_path):
    kafka, file = start_service("kafka"), tmp_path / "retail.csv"
    file.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,HEART,6,12/1/2010 8:26,2.55,17850,United Kingdom\n"
        "536366,85123A,HEART,6,12/1/2010 8:27,0,17850,United Kingdom\n"
    )
    with sales_produce(tmp_path, kafka, "--replay", str(file), "--feed", "online_retail") as process:
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert said.startswith("1 published, 1 to the dead letters")
    (event,), (letter,) = told(cluster_of(kafka)), told(cluster_of(kafka), "sales_events_dlq")
    assert (event["source"], event["order_id"], letter["order_id"]) == ("online_retail", "536365", "536366")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--count", "1", "--api"), "--count, --replay and --api are three sources. Give one of them."),
        (("--api",), "There is no sales API to poll. Set SALES_SALES_API_URL and SALES_SALES_API_TOKEN."),
    ],
)
def test_wrong_options_are_told(start_service, tmp_path, options, said):
    with sales_produce(tmp_path, start_service("kafka"), *options) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said in " ".join(errors.split())
