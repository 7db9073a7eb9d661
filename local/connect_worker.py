"""The worker behind the embedded Kafka Connect's API: connectors, their configurations, their tasks."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.connect_offsets import (
    UNREACHABLE,
    Offsets,
    OffsetsError,
    alter_offsets,
    read_offsets,
    reset_offsets,
)
from local.service import HOST
from local.sink_config import SinkConfig
from local.snowflake_sink import SinkTask

WORKER_ID = f"{HOST}:8083"
SINK_CLASSES = (
    "com.snowflake.kafka.connector.SnowflakeStreamingSinkConnector",
    "SnowflakeStreamingSinkConnector",
    "SnowflakeStreamingSink",
)
REQUIRED_KEYS = (
    "topics",
    "snowflake.url.name",
    "snowflake.user.name",
    "snowflake.private.key",
    "snowflake.database.name",
    "snowflake.schema.name",
    "snowflake.role.name",
)
# Key, its default, the values that the embedded sink knows, what Connect says of any other.
CHOICES = (
    ("errors.tolerance", "none", ("none", "all"), "must be one of none, all"),
    ("behavior.on.null.values", "DEFAULT", ("DEFAULT", "IGNORE"), "must be one of DEFAULT, IGNORE"),
    (
        "value.converter",
        "",
        ("org.apache.kafka.connect.json.JsonConverter",),
        "only JsonConverter is embedded",
    ),
    ("value.converter.schemas.enable", "true", ("false",), "only schemaless JSON is embedded"),
    ("snowflake.enable.schematization", "true", ("false",), "only RECORD_CONTENT is embedded"),
    (
        "snowflake.streaming.validate.compatibility.with.classic",
        "true",
        ("false",),
        "true demands the classic connector's settings, or the connector fails with error 0001",
    ),
)
STOP_SECONDS = 40
NOT_STOPPED = (
    "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the "
    "specified connector by issuing a 'PUT' request to the '/connectors/{name}/stop' endpoint"
)

Config = dict[str, str]


class ApiError(Exception):
    """An answer other than success: HTTP status and message, as Connect's ErrorMessage."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Connector:
    """A connector: its configuration, its target state, and its one task while it is to run."""

    def __init__(self, name: str, config: Config, target: str) -> None:
        self.name, self.config, self.target = name, config, target
        self.task: SinkTask | None = None

    @property
    def sink(self) -> SinkConfig:
        """What the embedded sink understands of the configuration."""
        return SinkConfig.parse(self.name, self.config)

    def info(self) -> dict[str, Any]:
        """ConnectorInfo."""
        tasks = [{"connector": self.name, "task": 0}] if self.task else []
        return {"name": self.name, "config": self.config, "tasks": tasks, "type": "sink"}

    def status(self, worker_id: str) -> dict[str, Any]:
        """ConnectorStateInfo."""
        tasks = []
        if self.task:
            tasks.append({"id": 0, "state": self.task.state, "worker_id": worker_id})
            if self.task.trace:
                tasks[0]["trace"] = self.task.trace
        connector = {"state": self.target, "worker_id": worker_id}
        return {"name": self.name, "connector": connector, "tasks": tasks, "type": "sink"}


class Worker:
    """All connectors of this worker; every change is on disk before it is answered."""

    def __init__(self, home: Path, bootstrap: Callable[[], str], patience_seconds: float) -> None:
        self.file = home / "connectors.json"
        self.bootstrap, self.patience = bootstrap, patience_seconds
        self.lock = threading.RLock()
        self.connectors: dict[str, Connector] = {}

    def resume(self) -> None:
        """Start what ran when the worker last stopped."""
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        for name, state in kept.items():
            self.connectors[name] = Connector(name, state["config"], state["target"])
            self.start_task(self.connectors[name])

    def get(self, name: str) -> Connector:
        """Find a connector. Raises ApiError 404."""
        if name not in self.connectors:
            raise ApiError(404, f"Connector {name} not found")
        return self.connectors[name]

    def put(self, name: str, config: Config) -> tuple[Connector, bool]:
        """Create a connector or give it a new configuration; also tells whether it is new."""
        validate(name, config)
        created = name not in self.connectors
        target = "RUNNING" if created else self.connectors[name].target
        if not created:
            self.stop_task(self.connectors[name])
        self.connectors[name] = Connector(name, config, target)
        self.save()
        self.start_task(self.connectors[name])
        return self.connectors[name], created

    def set_target(self, connector: Connector, target: str) -> None:
        """Bring a connector to RUNNING, PAUSED or STOPPED."""
        connector.target = target
        self.save()
        if target == "STOPPED":
            self.stop_task(connector)
        elif not connector.task:
            self.start_task(connector)
        elif target == "PAUSED":
            connector.task.paused.set()
        else:
            connector.task.paused.clear()

    def delete(self, name: str) -> None:
        """Forget a connector; what it wrote, and its tokens, stay in Snowflake."""
        self.stop_task(self.get(name))
        del self.connectors[name]
        self.save()

    def start_task(self, connector: Connector) -> None:
        """Start the connector's task, unless it is stopped."""
        if connector.target == "STOPPED":
            return
        connector.task = SinkTask(connector.sink, self.bootstrap, self.patience)
        if connector.target == "PAUSED":
            connector.task.paused.set()
        connector.task.start()

    def stop_task(self, connector: Connector) -> None:
        """Stop the connector's task. Raises ApiError 500 if it does not end."""
        if connector.task and not connector.task.stop(STOP_SECONDS):
            raise ApiError(500, "Request timed out")
        connector.task = None

    def offsets(self, connector: Connector) -> list[dict[str, Any]]:
        """Give the connector's offsets, as ConnectorOffsets."""
        return read_offsets(self.bootstrap(), connector.sink)

    def change_offsets(self, connector: Connector, wanted: Offsets | None) -> None:
        """Alter the offsets of a stopped connector; None resets them all. Raises ApiError 400 or 500."""
        if connector.target != "STOPPED":
            raise ApiError(400, NOT_STOPPED.format(name=connector.name))
        try:
            if wanted is None:
                reset_offsets(self.bootstrap(), connector.sink)
            else:
                alter_offsets(self.bootstrap(), connector.sink, wanted)
        except OffsetsError as error:
            raise ApiError(400, str(error)) from None
        except UNREACHABLE as error:
            raise ApiError(500, f"The offsets were not changed: {error}") from error

    def restart_task(self, connector: Connector, only_failed: bool) -> None:
        """Start the connector's task anew; with `only_failed` only if it failed."""
        if connector.task and (connector.task.trace or not only_failed):
            self.stop_task(connector)
            self.start_task(connector)

    def save(self) -> None:
        """Write the configurations in one step."""
        kept = {name: {"config": c.config, "target": c.target} for name, c in self.connectors.items()}
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(kept, indent=1))
        partial.replace(self.file)


def validate(name: str, config: Config) -> None:
    """Refuse a configuration that the real worker or connector refuses, or that the embedded sink cannot do.

    Raises ApiError 400, or 500 for an unknown connector class, with Connect's messages.
    """
    if config["name"] != name:
        raise ApiError(
            400,
            f"Connector name configuration ({config['name']}) "
            f"doesn't match connector name in the URL ({name})",
        )
    if config.get("connector.class") not in SINK_CLASSES:
        raise ApiError(
            500,
            "Failed to find any class that implements Connector and which name matches "
            f"{config.get('connector.class')}, available connectors are: {SINK_CLASSES[0]}",
        )
    missing = [key for key in REQUIRED_KEYS if not config.get(key)]
    errors = [f'Missing required configuration "{key}" which has no default value.' for key in missing]
    if not config.get("tasks.max", "1").isdigit() or config.get("tasks.max") == "0":
        errors.append(
            f"Invalid value {config['tasks.max']} for configuration tasks.max: Value must be at least 1"
        )
    for key, default, allowed, reason in CHOICES:
        if (value := config.get(key, default)) not in allowed:
            errors.append(f"Invalid value {value or None} for configuration {key}: {reason}")
    if errors:
        raise ApiError(
            400,
            f"Connector configuration is invalid and contains the following {len(errors)} error(s):\n"
            + "\n".join(errors)
            + "\nYou can also find the above list of errors at the endpoint "
            "`/connector-plugins/{connectorType}/config/validate`",
        )
