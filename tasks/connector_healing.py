"""Healing: failed tasks of the sink are restarted, a few times and ever more patiently, and judged again."""

import time
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks import names
from blocks.errors import SalesError
from blocks.kafka_connect import KafkaConnect
from blocks.load import load_block
from tasks.connector_state import FAILED, ConnectorApi, ConnectorStatus, advice_for
from tasks.findings import Finding, Status, failed_check
from tasks.kafka_connect import open_connector
from tasks.stream_limits import StreamLimits

POLL_SECONDS = 0.2
WANTED = "RUNNING, with at least one task and all of them RUNNING"


@dataclass(frozen=True)
class Healing:
    """How a connector was found after `restarts` restarts, and why it had failed before them."""

    status: ConnectorStatus
    restarts: int = 0
    cause: str = ""


def heal(connector: ConnectorApi, limits: StreamLimits) -> Healing:
    """Restart what failed, at most `max_restarts` times, each followed by twice the wait of the one before.

    A connector that runs without a task is restarted whole. One that was paused or stopped is left so: somebody
    meant it. Raises MayHeal or WillNotHeal as the connector's calls do.
    """
    restarts, cause = 0, ""
    while True:
        status = settle(connector, limits.settle_seconds)
        if not restartable(status) or restarts == limits.max_restarts:
            return Healing(status, restarts, cause)
        cause = cause or status.failure or str(status)
        connector.restart(only_failed=FAILED in status.states)
        time.sleep(limits.restart_wait_seconds * 2**restarts)
        restarts += 1


def restartable(status: ConnectorStatus) -> bool:
    """Say whether a restart may help: something failed, or it runs without a task."""
    return not status.halted and (FAILED in status.states or status.tasks == [])


def settle(connector: ConnectorApi, seconds: float) -> ConnectorStatus:
    """Give a connector that is on its way (starting, rebalancing) up to so many seconds to arrive."""
    deadline = time.monotonic() + seconds
    while not (status := connector.status()).settled and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return status


def judge(healing: Healing) -> Finding:
    """Make the finding of a connector after what could be done about it; `measured` are the restarts."""
    status, restarts = healing.status, healing.restarts
    times = _counted(restarts, "restart")
    if not status.healthy:
        value = f"{status}{f' (after {times})' if restarts else ''}."
        found: Status = "fail" if status.settled or status.tasks is not None else "warn"
        return Finding("connector", found, value, WANTED, advice_for(status), restarts)
    tasks = "tasks not told" if status.tasks is None else _counted(len(status.tasks), "task")
    if not restarts:
        return Finding("connector", "ok", f"RUNNING, {tasks}.", WANTED, measured=0)
    value = f"RUNNING, {tasks}, after {times}; it had failed ({healing.cause})."
    return Finding("connector", "warn", value, WANTED, "If it fails again, mend that cause.", restarts)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@task(name="heal the connector", cache_policy=NO_CACHE)
def heal_connector(limits: StreamLimits) -> Finding:
    """Make the sink run if a restart can; say how it was found in the end."""
    connect, logger = load_block(KafkaConnect, names.KAFKA_CONNECT), get_run_logger()
    try:
        finding = judge(heal(open_connector(connect), limits))
    except SalesError as error:
        finding = failed_check("connector", WANTED, error)
    (logger.info if finding.status == "ok" else logger.warning)("%s: %s", names.CONNECTOR, finding.value)
    return finding
