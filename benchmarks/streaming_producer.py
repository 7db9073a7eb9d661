"""How fast the producer is: `publish`, validation on, beside a bare confluent-kafka loop with the same messages.

    python -m benchmarks.streaming_producer [--events 200000] [--rounds 5] [--memory 1000000] [--json FILE]

Both send the same keys, values and headers, with the same client settings, to the same broker: librdkafka's own,
in a process of its own. That broker keeps only the newest 5 MB or 100,000 messages of a partition, which matters
nothing here: nobody reads them. The bare loop comes in two forms. `bytes` gets values and headers ready to send and
checks nothing: what the library can do. `dicts` gets events, as a producer does, and makes JSON of them by the
standard library. Rounds alternate, so that whatever else the machine does falls on all alike.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from blocks.kafka import KafkaCluster
from streaming.client import PRODUCER_CONFIG
from streaming.generator import sale_events
from streaming.producer import publish, to_message
from streaming.report import PublishReport

TOPIC, DISTINCT = "sales_events", 20_000
BROKER = """
import sys
from confluent_kafka import Producer
client = Producer({"test.mock.num.brokers": 1, "log_level": 2})
broker = next(iter(client.list_topics(timeout=10).brokers.values()))
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


@contextmanager
def broker() -> Iterator[KafkaCluster]:
    """Run librdkafka's broker in a process of its own."""
    command = [sys.executable, "-c", BROKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield KafkaCluster(bootstrap_servers=process.stdout.readline().strip())
        process.kill()


def repeated(distinct: list[Any], count: int) -> Iterator[Any]:
    """Give `count` of them, from the first again after the last."""
    return chain.from_iterable(repeat(distinct, count // len(distinct)))


def bare_bytes(cluster: KafkaCluster, messages: list[Any], count: int) -> None:
    """Send messages that are ready."""
    client = Producer(cluster.client_config() | PRODUCER_CONFIG)
    for _, key, value, headers in repeated(messages, count):
        while True:
            try:
                client.produce(TOPIC, value, key, headers=headers)
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
    client.flush()


def bare_dicts(cluster: KafkaCluster, events: list[Any], count: int) -> None:
    """Make the messages too, without a check."""
    client = Producer(cluster.client_config() | PRODUCER_CONFIG)
    for event in repeated(events, count):
        headers = [
            ("schema_version", str(event["schema_version"]).encode()),
            ("source", event["source"].encode()),
            ("trace_id", event["event_id"].replace("-", "").encode()),
        ]
        value = json.dumps(event).encode()
        while True:
            try:
                client.produce(TOPIC, value, event["order_id"], headers=headers)
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
    client.flush()


def validated(cluster: KafkaCluster, events: list[Any], count: int) -> None:
    """Send by `publish`."""
    assert publish(cluster, repeated(events, count)).produced == count


def unvalidated(cluster: KafkaCluster, events: list[Any], count: int) -> None:
    """Send by `publish` without the schema."""
    assert publish(cluster, repeated(events, count), validate=False).produced == count


WAYS: dict[str, Callable[[KafkaCluster, list[Any], int], None]] = {
    "bare, bytes": bare_bytes,
    "bare, dicts": bare_dicts,
    "publish": validated,
    "publish, unvalidated": unvalidated,
}


def events_per_second(way: str, cluster: KafkaCluster, events: list[Any], count: int) -> float:
    """Measure one way, its client's start and last confirmation included."""
    given = [to_message(event) for event in events] if way == "bare, bytes" else events
    began = time.monotonic()
    WAYS[way](cluster, given, count)
    return count / (time.monotonic() - began)


def memory(cluster: KafkaCluster, count: int) -> list[float]:
    """Give the resident memory of this process, in MiB, at every tenth of so many generated events."""
    process, seen = psutil.Process(), list[float]()

    def look(report: PublishReport) -> None:
        if report.taken >= (len(seen) + 1) * count // 10:
            seen.append(process.memory_info().rss / 2**20)

    events = chain.from_iterable(sale_events(seed, DISTINCT) for seed in range(count // DISTINCT))
    publish(cluster, events, on_progress=look)
    return seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=200_000, help="events of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, default=1_000_000, help="events of the memory's measurement")
    parser.add_argument("--json", type=Path, help="write every number there")
    options = parser.parse_args()
    events = list(sale_events(1, DISTINCT))
    gc.collect()
    gc.freeze()  # as `sales produce` does; for all ways alike
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with broker() as cluster:
        for number in range(options.rounds):
            for way in WAYS:
                found[way].append(events_per_second(way, cluster, events, options.events))
            shown = ", ".join(f"{way} {rates[-1]:,.0f}/s" for way, rates in found.items())
            print(f"round {number + 1} (load {psutil.getloadavg()[0]:.1f}): {shown}", flush=True)
        megabytes = memory(cluster, options.memory) if options.memory else []
    for bare in ("bare, bytes", "bare, dicts"):
        ratios = [ours / theirs for ours, theirs in zip(found["publish"], found[bare], strict=True)]
        print(
            f"publish / {bare}: median {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )
    if megabytes:
        print(f"memory over {options.memory:,} events, MiB: {' '.join(f'{size:.0f}' for size in megabytes)}")
    if options.json:
        options.json.write_text(json.dumps({"events_per_second": found, "memory_mib": megabytes}, indent=1))


if __name__ == "__main__":
    main()
