"""Every state that Kafka Connect tells of a connector: what is found, what is done about it, what is advised.

The payloads are Kafka's (ConnectorStateInfo, ErrorMessage), played by a real HTTP server.
"""

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.logging import disable_run_logger

from blocks.kafka_connect import KafkaConnect
from tasks.connector_healing import WANTED, heal, heal_connector, judge
from tasks.findings import Finding, failed_check
from tasks.kafka_connect import RestConnector
from tasks.stream_limits import StreamLimits
from tests.contract.played_service import Answer, Asked, play

LIMITS = StreamLimits(max_restarts=2, restart_wait_seconds=0.01, settle_seconds=0.3)
RESTART_FAILED = "POST /connectors/snowflake_sink/restart?includeTasks=true&onlyFailed=true"
RESTART_ALL = "POST /connectors/snowflake_sink/restart?includeTasks=true&onlyFailed=false"
TRACE = (
    "org.apache.kafka.connect.errors.ConnectException: Exiting WorkerSinkTask due to unrecoverable exception.\n"
    "\tat org.apache.kafka.connect.runtime.WorkerSinkTask.deliverMessages(WorkerSinkTask.java:635)\n"
    "Caused by: com.snowflake.kafka.connector.internal.SnowflakeKafkaConnectorException: \n"
    "[SF_KAFKA_CONNECTOR] Exception: Failed to put records\n"
    "Caused by: net.snowflake.client.jdbc.SnowflakeSQLException: JWT token is invalid.\n"
    "\tat net.snowflake.client.jdbc.SnowflakeUtil.checkErrorAndThrowException(SnowflakeUtil.java:152)\n"
)


def status(connector: str, *tasks: str) -> Answer:
    worker = "10.0.1.17:8083"
    told: list[dict[str, Any]] = [{"id": n, "state": s, "worker_id": worker} for n, s in enumerate(tasks)]
    for task in told:
        if task["state"] == "FAILED":
            task["trace"] = TRACE
    instance = {"state": connector, "worker_id": worker} | ({"trace": TRACE} if connector == "FAILED" else {})
    return 200, {
        "name": "snowflake_sink",
        "connector": instance,
        "tasks": told,
        "type": "sink",
        "version": "4.1.0",
    }


def error(code: int, message: str) -> Answer:
    return code, {"error_code": code, "message": message}


WELL = status("RUNNING", "RUNNING", "RUNNING")
REBALANCE = error(409, "Cannot complete request momentarily due to stale configuration (typically caused by a "
                  "concurrent config change)")  # fmt: skip


@dataclass
class Case:
    """What Connect answers before the first restart, after it, after the second; what must come of it."""

    stages: list[list[Answer]]  # of each stage the last answer is repeated
    expected: str
    value: str
    advice: str = ""
    changes: list[str] = field(default_factory=list)


CASES = {
    "RUNNING": Case([[WELL]], "ok", "RUNNING, 2 tasks."),
    "task FAILED, healed": Case(
        [[status("RUNNING", "RUNNING", "FAILED")], [status("RUNNING", "RUNNING", "RESTARTING"), WELL]],
        "warn",
        "RUNNING, 2 tasks, after 1 restart; it had failed (task 1: net.snowflake.client.jdbc."
        "SnowflakeSQLException: JWT token is invalid.).",
        "If it fails again, mend that cause.",
        [RESTART_FAILED],
    ),
    "task FAILED, healed by the second restart": Case(
        [[status("RUNNING", "FAILED")], [status("RUNNING", "FAILED")], [WELL]],
        "warn",
        "RUNNING, 2 tasks, after 2 restarts; it had failed (task 0",
        "If it fails again",
        [RESTART_FAILED] * 2,
    ),
    "task FAILED for good": Case(
        [[status("RUNNING", "RUNNING", "FAILED")]],
        "fail",
        "task 1 FAILED: net.snowflake.client.jdbc.SnowflakeSQLException: JWT token is invalid. (after 2 restarts).",
        "Mend the cause, then run `sales connector restart`.",
        [RESTART_FAILED] * 2,
    ),
    "connector FAILED, healed": Case(
        [[status("FAILED", "RUNNING")], [WELL]],
        "warn",
        "it had failed (connector: net.snowflake",
        "If it fails again",
        [RESTART_FAILED],
    ),
    "PAUSED": Case(
        [[status("PAUSED", "PAUSED", "PAUSED")]],
        "fail",
        "connector PAUSED; task 0 PAUSED; task 1 PAUSED.",
        "Somebody halted it. Resume it: `sales connector resume`.",
    ),
    "PAUSED with a FAILED task": Case(
        [[status("PAUSED", "PAUSED", "FAILED")]],
        "fail",
        "connector PAUSED; task 0 PAUSED; task 1 FAILED",
        "Resume it",
    ),
    "STOPPED": Case(
        [[status("STOPPED")]], "fail", "connector STOPPED; no tasks.", "Resume it: `sales connector resume`."
    ),
    "UNASSIGNED, then RUNNING": Case([[status("UNASSIGNED", "UNASSIGNED"), WELL]], "ok", "RUNNING, 2 tasks."),
    "UNASSIGNED for good": Case(
        [[status("UNASSIGNED", "UNASSIGNED")]],
        "fail",
        "connector UNASSIGNED; task 0 UNASSIGNED.",
        "No worker takes it up: see that Kafka Connect's workers are there, and their log.",
    ),
    "RESTARTING, then RUNNING": Case([[status("RUNNING", "RESTARTING"), WELL]], "ok", "RUNNING, 2 tasks."),
    "RESTARTING for good": Case(
        [[status("RUNNING", "RESTARTING")]],
        "fail",
        "connector RUNNING; task 0 RESTARTING.",
        "No worker takes it up",
    ),
    "RUNNING with no task, then with": Case([[status("RUNNING"), WELL]], "ok", "RUNNING, 2 tasks."),
    "RUNNING with no task, healed": Case(
        [[status("RUNNING")], [WELL]],
        "warn",
        "RUNNING, 2 tasks, after 1 restart; it had failed (connector RUNNING; no tasks).",
        "If it fails again",
        [RESTART_ALL],
    ),
    "RUNNING with no task for good": Case(
        [[status("RUNNING")]],
        "fail",
        "connector RUNNING; no tasks (after 2 restarts).",
        "Connect makes no task of it",
        [RESTART_ALL] * 2,
    ),
    "unknown connector": Case(
        [[error(404, "No status found for connector snowflake_sink")]],
        "fail",
        "No status found for connector snowflake_sink",
        "Make it with `sales connector apply`.",
    ),
    "409 during a rebalance, then RUNNING": Case([[REBALANCE, WELL]], "ok", "RUNNING, 2 tasks."),
    "409 without end": Case(
        [[REBALANCE]], "fail", "answers 409: Cannot complete request", "Its workers rebalance"
    ),
    "401": Case(
        [[(401, "User cannot access the resource.")]],
        "fail",
        "refuses the credentials (401).",
        "Correct the user and password of the block sales-kafka-connect.",
    ),
    "403": Case([[(403, None)]], "fail", "refuses the credentials (403).", "Correct the user and password"),
    "500, then RUNNING": Case([[error(500, "Request timed out"), WELL]], "ok", "RUNNING, 2 tasks."),
    "500 without end": Case(
        [[error(500, "Request timed out. The worker is currently ensuring membership in the cluster")]],
        "fail",
        "answers 500: Request timed out.",
        "See the workers' log.",
    ),
    "another service": Case(
        [[(200, "<html>hello</html>")]], "fail", "is not Kafka Connect's REST API", "Correct the address"
    ),
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("tasks.kafka_connect.PATIENCE_SECONDS", 0.5)


@pytest.mark.parametrize("name", CASES)
def test_each_state_has_its_finding_and_its_action(name, monkeypatch):
    case = CASES[name]
    stages = [list(stage) for stage in case.stages]

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            stages[:] = stages[1:] or stages
            return 202, status("RUNNING", "RESTARTING")[1]
        stage = stages[0]
        return stage.pop(0) if len(stage) > 1 else stage[0]

    with play(answer) as connect, disable_run_logger():
        monkeypatch.setattr(
            "tasks.connector_healing.load_block", lambda kind, _name: KafkaConnect(url=connect.url)
        )
        finding = heal_connector.fn(LIMITS)
    assert (finding.check, finding.status, finding.threshold) == ("connector", case.expected, WANTED)
    assert case.value in finding.value
    assert case.advice in finding.advice
    assert bool(finding.advice) == (case.expected != "ok")
    assert connect.changes() == case.changes
    if finding.measured is not None:
        assert finding.measured == len(case.changes)


def test_no_answer_is_told_with_what_to_look_at(monkeypatch):
    monkeypatch.setattr(
        "tasks.connector_healing.load_block", lambda kind, _name: KafkaConnect(url="http://127.0.0.1:1")
    )
    with disable_run_logger():
        finding = heal_connector.fn(LIMITS)
    assert finding.status == "fail"
    assert finding.value.startswith("Kafka Connect at http://127.0.0.1:1 cannot be reached")
    assert finding.advice == "See that its workers run and that this machine may reach them."


def test_a_hung_worker_is_no_answer(monkeypatch):
    import threading

    over = threading.Event()

    def hang(asked: Asked) -> Answer:
        over.wait(10)
        return WELL

    with play(hang) as connect:
        block = KafkaConnect(url=connect.url, timeout_seconds=0.2)
        monkeypatch.setattr("tasks.connector_healing.load_block", lambda kind, _name: block)
        with disable_run_logger():
            finding = heal_connector.fn(LIMITS)
        over.set()
    assert (finding.status, "cannot be reached: timed out" in finding.value) == ("fail", True), finding


def test_waits_grow_and_restarts_end(monkeypatch):
    waits: list[float] = []
    # This module's clock only: threads of the Prefect client sleep in this process too.
    monkeypatch.setattr(
        "tasks.connector_healing.time", SimpleNamespace(sleep=waits.append, monotonic=time.monotonic)
    )
    limits = StreamLimits(max_restarts=4, restart_wait_seconds=5, settle_seconds=0)
    with play(lambda asked: status("RUNNING", "FAILED") if asked.method == "GET" else (202, None)) as connect:
        healing = heal(RestConnector(KafkaConnect(url=connect.url)), limits)
    assert waits == [5, 10, 20, 40]
    assert (healing.restarts, judge(healing).status) == (4, "fail")
    assert connect.changes() == [RESTART_FAILED] * 4


def test_no_restart_is_made_where_none_is_allowed():
    with play(lambda asked: status("RUNNING", "FAILED")) as connect:
        healing = heal(RestConnector(KafkaConnect(url=connect.url)), StreamLimits(max_restarts=0))
    assert (healing.restarts, connect.changes()) == (0, [])


def test_a_refused_check_keeps_what_happened_and_the_advice_apart():
    from blocks.errors import WillNotHeal

    finding = failed_check("connector", "w", WillNotHeal("It is gone.", "Make it."))
    assert finding == Finding("connector", "fail", "It is gone.", "w", "Make it.")
    assert str(WillNotHeal("It is gone.", "Make it.")) == "It is gone. Make it."
