"""How fast the embedded sink lands events, how late they are there, and what memory it takes.

`python -m benchmarks.streaming_sink` measures, in one run on this machine,

- rows/s of the sink beside the bare path: consume, and load each batch with one bound JSON array, which is the
  fastest bulk load of events there is, at the best of several batch sizes; no validation, no metadata to speak
  of, no tokens, no dead letters. Both take the same events from the same broker into tables of the same server,
  in turns;
- the latency from the producer's timestamp to the moment another session sees the event, at a steady rate;
- the resident memory of the sink's process while many events pass.

Ends with 1 if a target is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import orjson
import psutil
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from prefect_snowflake import SnowflakeCredentials
from rich.console import Console
from snowflake.connector import SnowflakeConnection

from blocks import names
from blocks.kafka import KafkaCluster
from blocks.kafka_connect import KafkaConnect
from blocks.warehouse import SalesWarehouse
from streaming.generator import sale_events
from tasks.connector_config import render_connector
from tasks.kafka import topic_offsets, wait_for_lag
from tasks.kafka_connect import apply_connector, connector_status
from tasks.migrations import migrate

TARGET_RATIO, TARGET_P95_SECONDS, TARGET_GROWTH = 0.5, 2.0, 1.2
BATCHES = (5_000, 10_000, 20_000)
DISTINCT_EVENTS = 20_000
TOKENS = "SALES_DW._STREAMING.OFFSET_TOKENS"
BARE_INSERT = (
    "insert into RAW.BARE_RAW (RECORD_METADATA, RECORD_CONTENT) "
    "select f.value:m, f.value:c from table(flatten(input => parse_json(?))) f"
)
console = Console(stderr=True)


class Service:
    """A stand-in as the stack starts it; `facts` is what it announced."""

    def __init__(self, name: str, home: Path, *arguments: str) -> None:
        self.home = home / name
        self.home.mkdir()
        command = [sys.executable, "-m", f"local.{name}", "--home", str(self.home), "--lifeline", *arguments]
        with (self.home / "log.txt").open("wb") as log:
            self.process = psutil.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        ready = self.home / "ready.json"
        while not ready.exists():
            if self.process.poll() is not None:
                raise RuntimeError((self.home / "log.txt").read_text())
            time.sleep(0.05)
        self.facts: dict[str, Any] = json.loads(ready.read_text())


class Bench:
    """Broker, warehouse and sink, and events to send."""

    def __init__(self, home: Path) -> None:
        self.services = [Service("kafka", home), Service("snowflake", home)]
        kafka, snowflake = (service.facts for service in self.services)
        self.cluster = KafkaCluster(bootstrap_servers=kafka["bootstrap"])
        self.warehouse = SalesWarehouse(
            credentials=SnowflakeCredentials(account="local", user="u", password="p"),
            database="SALES_DW",
            warehouse="W",
            schema="RAW",
            server_url=snowflake["url"],
        )
        values = {"processed_url": home.as_uri(), "stage_options": "", "database": "SALES_DW"}
        list(migrate(self.warehouse, values))
        self.run("create table RAW.BARE_RAW (record_metadata variant, record_content variant)")
        self.sink = Service("connect", home, "--bootstrap", kafka["bootstrap"])
        self.services.append(self.sink)
        self.connect = KafkaConnect(url=self.sink.facts["url"])
        settings = {"snowflake_endpoint": snowflake["url"], "snowflake_account": "", "snowflake_user": "u"}
        settings |= {"snowflake_database": "SALES_DW", "snowflake_role": "r"}
        settings |= {"kafka_connect_private_key_reference": "${file:/keys:snowflake}"}
        apply_connector(self.connect, render_connector(settings))
        made = islice(sale_events(7, DISTINCT_EVENTS), DISTINCT_EVENTS)
        self.payloads = [
            (str(event["order_id"]), orjson.dumps(event)) for event in made if isinstance(event, dict)
        ]
        self.producer = Producer(
            self.cluster.client_config() | {"compression.type": "zstd", "linger.ms": 5, "acks": "all"}
        )

    def run(self, sql: str) -> list[dict[str, Any]]:
        return self.warehouse.rows(sql)

    def send(self, count: int, rate: float | None = None) -> None:
        began = time.monotonic()
        for number, (key, value) in enumerate(islice(cycle(self.payloads), count), start=1):
            self.producer.produce(names.TOPIC, value, key)
            ahead = number / rate - (time.monotonic() - began) if rate else 0.0
            self.producer.poll(max(0.0, ahead))
        self.producer.flush()

    def order_sink(self, what: str) -> None:
        with self.connect.client() as http:
            http.put(f"/connectors/{names.CONNECTOR}/{what}", timeout=60).raise_for_status()

    def landed(self) -> int:
        return int(self.run("select count(*) c from RAW.SALES_RAW")[0]["c"])

    def stop(self) -> None:
        for service in reversed(self.services):
            service.process.terminate()
            service.process.wait()


def sink_seconds(bench: Bench, count: int) -> float:
    """Let the sink, which has been stopped, land what waits on the topic; its start is counted."""
    before = bench.landed()
    began = time.monotonic()
    bench.order_sink("resume")
    while not connector_status(bench.connect).healthy:
        time.sleep(0.02)
    wait_for_lag(bench.cluster, timeout_seconds=300)
    seconds = time.monotonic() - began
    bench.order_sink("stop")
    if (landed := bench.landed() - before) != count:
        raise RuntimeError(f"{landed} rows of {count} landed")
    return seconds


def bare_seconds(bench: Bench, starts: dict[int, int], count: int, batch: int) -> float:
    """Consume the same events and load them, with nothing around it."""
    consumer = Consumer(
        bench.cluster.client_config()
        | {"group.id": "bare", "enable.auto.commit": False, "fetch.wait.max.ms": 50}
    )
    with bench.warehouse.session(paramstyle="qmark") as connection:
        began = time.monotonic()
        consumer.assign(
            [TopicPartition(names.TOPIC, partition, start) for partition, start in starts.items()]
        )
        waiting: list[Message] = []
        loaded = 0
        while loaded < count:
            waiting += consumer.consume(batch - len(waiting), timeout=0.05)
            if len(waiting) >= min(batch, count - loaded):
                load_bare(connection, waiting)
                loaded, waiting = loaded + len(waiting), []
        seconds = time.monotonic() - began
    consumer.close()
    return seconds


def load_bare(connection: SnowflakeConnection, messages: list[Message]) -> None:
    rows = ",".join(
        f'{{"m":{{"partition":{each.partition()},"offset":{each.offset()}}},"c":{each.value().decode()}}}'
        for each in messages
    )
    with connection.cursor() as cursor:
        cursor.execute(BARE_INSERT, (f"[{rows}]",))


def measure_rates(bench: Bench, rounds: int, count: int) -> dict[str, Any]:
    """Compare the sink with the bare path, in turns, over the same events."""
    bench.order_sink("stop")
    bare: dict[int, list[float]] = defaultdict(list)
    sink = []
    for number in range(rounds):
        starts = {partition: end for partition, (_, end) in topic_offsets(bench.cluster, names.TOPIC).items()}
        bench.send(count)
        turns = [("sink", 0), *(("bare", batch) for batch in BATCHES)]
        for who, batch in turns if number % 2 else reversed(turns):
            if who == "sink":
                sink.append(count / sink_seconds(bench, count))
                console.print(f"round {number + 1}: sink {sink[-1]:,.0f} rows/s")
            else:
                bare[batch].append(count / bare_seconds(bench, starts, count, batch))
                console.print(f"round {number + 1}: bare at {batch:,} {bare[batch][-1]:,.0f} rows/s")
    best = max(median(rates) for rates in bare.values())
    bench.order_sink("resume")
    return {"sink_rows_per_s": median(sink), "bare_rows_per_s": best, "ratio": median(sink) / best}


def measure_latency(bench: Bench, seconds: int, rate: float) -> dict[str, Any]:
    """Send at a steady rate while another session looks, again and again, up to which offsets rows are there."""
    wait_for_lag(bench.cluster, timeout_seconds=300)
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, bench.cluster.bootstrap_servers, str(rate), str(seconds)]
    )
    since = {p: end for p, (_, end) in topic_offsets(bench.cluster, names.TOPIC).items()}
    seen: list[tuple[float, dict[int, int]]] = []
    sql = f"select partition_number p, max(offset_token) o from {TOKENS} group by 1"
    with bench.warehouse.session() as connection, connection.cursor() as cursor:
        deadline: float | None = None
        while deadline is None or time.time() < deadline:
            rows = cursor.execute(sql).fetchall()
            seen.append((time.time(), {int(p): int(o) for p, o in rows}))
            if deadline is None and sender.poll() is not None:
                deadline = time.time() + 5
            time.sleep(0.05)
    delays = sorted(delays_of(bench, since, seen))
    cuts = quantiles(delays, n=100)
    return {
        "events": len(delays),
        "p50_s": cuts[49],
        "p95_s": cuts[94],
        "p99_s": cuts[98],
        "max_s": delays[-1],
    }


SENDER = """
import sys
from benchmarks.streaming_sink import paced
paced(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
"""


def paced(bootstrap: str, rate: float, seconds: float) -> None:
    """Send events at a rate, from a process of its own, so that the looking does not hold it up."""
    made = islice(sale_events(8, 5_000), 5_000)
    payloads = [(str(event["order_id"]), orjson.dumps(event)) for event in made if isinstance(event, dict)]
    producer = Producer(
        {"bootstrap.servers": bootstrap, "compression.type": "zstd", "linger.ms": 5, "acks": "all"}
    )
    producer.list_topics(names.TOPIC, timeout=10)
    began = time.monotonic()
    for number, (key, value) in enumerate(islice(cycle(payloads), int(rate * seconds)), start=1):
        producer.produce(names.TOPIC, value, key)
        producer.poll(max(0.0, number / rate - (time.monotonic() - began)))
    producer.flush()


def delays_of(
    bench: Bench, since: dict[int, int], seen: list[tuple[float, dict[int, int]]]
) -> Iterator[float]:
    """Give each event's delay in seconds: from its own timestamp to the first look that saw it."""
    rows = bench.run(
        "select record_metadata:partition::number p, record_metadata:offset::number o, "
        "record_metadata:CreateTime::number t from RAW.SALES_RAW"
    )
    by_partition: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if int(row["o"]) >= since[int(row["p"])]:
            by_partition[int(row["p"])].append((int(row["o"]), int(row["t"])))
    for partition, events in by_partition.items():
        looks = iter(seen)
        at, upto = next(looks)
        for offset, created in sorted(events):
            while upto.get(partition, -1) < offset:
                at, upto = next(looks)
            yield at - created / 1000


def measure_memory(bench: Bench, events: int) -> dict[str, Any]:
    """Send events as fast as the sink takes them; look at its memory ten times."""
    step, sizes = events // 10, []
    for number in range(10):
        for _ in range(0, step, 20_000):
            bench.send(min(20_000, step))
            wait_for_lag(bench.cluster, at_most=20_000, timeout_seconds=300)
        sizes.append(bench.sink.process.memory_info().rss / 2**20)
        console.print(f"{(number + 1) * step:>9,} events: {sizes[-1]:,.0f} MiB")
    wait_for_lag(bench.cluster, timeout_seconds=300)
    return {"events": events, "mib": [round(size) for size in sizes], "growth": sizes[-1] / sizes[0]}


@contextmanager
def bench_running() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as home:
        bench = Bench(Path(home))
        try:
            yield bench
        finally:
            bench.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=4, help="turns of sink and bare path")
    parser.add_argument(
        "--rows", type=int, default=60_000, help="events of each turn; the broker keeps 20 MB"
    )
    parser.add_argument("--rate", type=float, default=1_000, help="events per second for the latency")
    parser.add_argument("--seconds", type=int, default=30, help="how long the latency is measured")
    parser.add_argument(
        "--memory-events", type=int, default=1_000_000, help="events for the memory; 0: leave out"
    )
    options = parser.parse_args()
    with bench_running() as bench:
        rates = measure_rates(bench, options.rounds, options.rows)
        latency = measure_latency(bench, options.seconds, options.rate)
        memory = measure_memory(bench, options.memory_events) if options.memory_events else None
    missed = [
        name
        for name, met in {
            "ratio": rates["ratio"] >= TARGET_RATIO,
            "p95": latency["p95_s"] <= TARGET_P95_SECONDS,
            "memory": not memory or memory["growth"] <= TARGET_GROWTH,
        }.items()
        if not met
    ]
    print(json.dumps({"rates": rates, "latency": latency, "memory": memory, "missed": missed}, indent=1))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
