"""Kafka Connect as the flows see it: bring a connector to its configuration, judge it, restart it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import httpx
from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import SandboxedEnvironment
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from blocks import names
from blocks.errors import MayHeal, WillNotHeal, may_heal
from blocks.kafka_connect import KafkaConnect
from blocks.load import load_block
from blocks.settings import PROJECT

CONNECTOR_FILE = PROJECT / "streaming" / "connectors" / "snowflake_sink.json"
# Longer than a rebalance, during which Connect answers 409.
PATIENCE_SECONDS = 30
RUNNING = "RUNNING"

Change = Literal["created", "updated", "unchanged"]


class WorkerState(BaseModel):
    """State of a connector instance or of one of its tasks, as Connect reports it."""

    state: str
    worker_id: str = ""
    trace: str | None = None

    @property
    def reason(self) -> str:
        """The line of the trace that says most: the last cause, else the first line."""
        lines = (self.trace or "").splitlines() or [""]
        causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
        return (causes or lines)[-1 if causes else 0]


class TaskState(WorkerState):
    """State of one task of a connector."""

    id: int


class ConnectorStatus(BaseModel):
    """Answer of `GET /connectors/{name}/status` (Kafka's ConnectorStateInfo)."""

    name: str
    connector: WorkerState
    tasks: list[TaskState]
    type: str = "unknown"

    @property
    def healthy(self) -> bool:
        """Whether the connector runs, with at least one task, and all tasks run."""
        states = [self.connector.state, *(task.state for task in self.tasks)]
        return bool(self.tasks) and all(state == RUNNING for state in states)


def render_connector(settings: Mapping[str, Any], file: Path = CONNECTOR_FILE) -> dict[str, str]:
    """Fill in a connector's configuration, a JSON object of Jinja templates, from settings by their names.

    Secrets are not settings here: the private key is a config-provider reference that only Connect resolves.
    Raises WillNotHeal for a setting the file wants and `settings` does not have.
    """
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    templates = json.loads(file.read_text())
    try:
        return {key: environment.from_string(text).render(settings) for key, text in templates.items()}
    except UndefinedError as error:
        raise WillNotHeal(f"{file.name} cannot be filled in: {error}") from None


def connector_status(connect: KafkaConnect, name: str = names.CONNECTOR) -> ConnectorStatus:
    """Read a connector's status. Raises WillNotHeal if there is no such connector."""
    return ConnectorStatus.model_validate(_call(connect, "GET", f"/connectors/{name}/status").json())


def apply_connector(connect: KafkaConnect, config: Mapping[str, str], name: str = names.CONNECTOR) -> Change:
    """Create the connector or bring it to this configuration; say what was done."""
    wanted = {**config, "name": name}
    known = _call(connect, "GET", "/connectors").json()
    if name in known and _call(connect, "GET", f"/connectors/{name}/config").json() == wanted:
        return "unchanged"
    answer = _call(connect, "PUT", f"/connectors/{name}/config", json=wanted)
    return "created" if answer.status_code == httpx.codes.CREATED else "updated"


def restart_failed(connect: KafkaConnect, name: str = names.CONNECTOR) -> ConnectorStatus:
    """Restart the connector and its tasks where they failed; give the status as the restart begins."""
    only_failed = {"includeTasks": "true", "onlyFailed": "true"}
    return ConnectorStatus.model_validate(
        _call(connect, "POST", f"/connectors/{name}/restart", params=only_failed).json()
    )


def require_healthy(status: ConnectorStatus) -> None:
    """Pass only a healthy connector.

    Raises WillNotHeal with the cause for one that failed or was paused: somebody has to act. Raises MayHeal
    for one on its way (UNASSIGNED, RESTARTING, no tasks yet).
    """
    if status.healthy:
        return
    parts = {"connector": status.connector} | {f"task {task.id}": task for task in status.tasks}
    found = "; ".join(
        f"{what} {part.state}{': ' if part.reason else ''}{part.reason}" for what, part in parts.items()
    )
    states = {part.state for part in parts.values()}
    if "FAILED" in states:
        raise WillNotHeal(
            f"{status.name} failed ({found}). Mend the cause, then run `sales connector restart`."
        )
    if states & {"PAUSED", "STOPPED"}:
        raise WillNotHeal(f"{status.name} does not run ({found}). Resume it.")
    raise MayHeal(f"{status.name} is not running yet ({found or 'no tasks'}).")


@task(name="check the connector", cache_policy=NO_CACHE)
def check_connector() -> ConnectorStatus:
    """Make sure that the Snowflake sink runs; one that is just starting gets some time. Raises as above."""
    connect = load_block(KafkaConnect, names.KAFKA_CONNECT)
    for attempt in _patiently():
        with attempt:
            status = connector_status(connect)
            require_healthy(status)
    get_run_logger().info("%s runs with %d tasks", status.name, len(status.tasks))
    return status


def _patiently() -> Retrying:
    wait = wait_random_exponential(0.2, max=3)
    return Retrying(
        retry=retry_if_exception(may_heal), wait=wait, stop=stop_after_delay(PATIENCE_SECONDS), reraise=True
    )


def _call(connect: KafkaConnect, method: str, path: str, **request: Any) -> httpx.Response:
    # Every call can be repeated: reads, PUT of a whole configuration, restart of what failed.
    try:
        with connect.client() as client:
            for attempt in _patiently():
                with attempt:
                    return client.request(method, path, **request).raise_for_status()
    except httpx.HTTPStatusError as error:
        raise _explain(connect, error) from None
    except httpx.TransportError as error:
        raise MayHeal(f"Kafka Connect at {connect.url} cannot be reached: {error}") from error
    raise AssertionError("unreachable: the retry returns or raises")


def _explain(connect: KafkaConnect, error: httpx.HTTPStatusError) -> MayHeal | WillNotHeal:
    code = error.response.status_code
    if code in (401, 403):
        return WillNotHeal(
            f"Kafka Connect at {connect.url} refuses the credentials ({code}). Correct the user and password "
            f"of the block {names.KAFKA_CONNECT}."
        )
    try:
        message = error.response.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = error.response.text[:300]
    if code == httpx.codes.NOT_FOUND:
        return WillNotHeal(f"{message} (at {connect.url}). Apply the connector first.")
    return (MayHeal if may_heal(error) else WillNotHeal)(
        f"Kafka Connect at {connect.url} answers {code}: {message}"
    )
