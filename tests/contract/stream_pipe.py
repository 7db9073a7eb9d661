"""Broker, sink and warehouse as processes of their own, joined as the stack joins them."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from blocks import names
from blocks.kafka import KafkaCluster
from blocks.kafka_connect import KafkaConnect
from tasks.connector_config import render_connector
from tasks.kafka import wait_for_lag
from tasks.kafka_connect import apply_connector, connector_status, restart_failed

Position = tuple[int, int]
SETTINGS = {
    "snowflake_account": "",
    "snowflake_user": "u",
    "snowflake_database": "SALES_DW",
    "snowflake_role": "r",
    "kafka_connect_private_key_reference": "${file:/keys:snowflake}",
}


class StreamPipe:
    """sales_events → sink → RAW.SALES_RAW; `way_to` gives the URL by which the sink reaches Snowflake."""

    def __init__(
        self,
        start_service: Any,
        serve_warehouse: Any,
        home: Path,
        *,
        patience: float = 20,
        way_to: Callable[[str], str] = lambda url: url,
    ) -> None:
        self.warehouse = serve_warehouse(home.as_uri())
        self.kafka = start_service("kafka")
        self.cluster = KafkaCluster(bootstrap_servers=self.kafka.facts["bootstrap"])
        address = str(self.kafka.home / "ready.json")
        self.worker = start_service("connect", "--bootstrap", address, "--patience", str(patience))
        url = way_to(self.warehouse.server_url)
        apply_connector(self.connect, render_connector(SETTINGS | {"snowflake_endpoint": url}))

    @property
    def connect(self) -> KafkaConnect:
        return KafkaConnect(url=self.worker.facts["url"])

    def wait_until_it_runs(self, seconds: float = 40) -> None:
        """Wait for a running task, restarting one that failed, as the watching flow does."""
        deadline = time.monotonic() + seconds
        while not (status := connector_status(self.connect)).healthy:
            assert time.monotonic() < deadline, (status, self.worker.log()[-3000:])
            if "FAILED" in {task.state for task in status.tasks}:
                restart_failed(self.connect)
            time.sleep(0.05)

    def wait_until_it_fails(self, seconds: float = 20) -> str:
        """Wait for a failed task; give its trace."""
        deadline = time.monotonic() + seconds
        while not (traces := [t.trace for t in connector_status(self.connect).tasks if t.state == "FAILED"]):
            assert time.monotonic() < deadline, self.worker.log()[-3000:]
            time.sleep(0.05)
        return traces[0] or ""

    def send(self, *messages: dict[str, Any] | bytes, topic: str = names.TOPIC, **how: Any) -> None:
        """Send messages as they are, all of them to the same partition unless they are keyed."""
        producer = Producer(self.cluster.client_config() | {"linger.ms": 5})
        for message in messages:
            value = message if isinstance(message, bytes) else json.dumps(message).encode()
            producer.produce(topic, value, **({"partition": 0} | how))
        assert producer.flush(20) == 0

    def drain(self, seconds: float = 60) -> None:
        """Wait until the sink has passed everything."""
        self.wait_until_it_runs()
        wait_for_lag(self.cluster, timeout_seconds=seconds)

    def landed(self) -> list[tuple[Position, int, dict[str, Any]]]:
        """Read SALES_RAW in the order in which it was written: position, push time, event."""
        rows = self.warehouse.rows("select record_metadata m, record_content c from RAW.SALES_RAW")
        told = [(json.loads(row["m"]), json.loads(row["c"])) for row in rows]
        return [((m["partition"], m["offset"]), m["SnowflakeConnectorPushTime"], c) for m, c in told]
