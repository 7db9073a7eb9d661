"""The stream's health on the embedded stack: healed where a restart can, told once where it cannot."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from typer.testing import CliRunner

from blocks.errors import WillNotHeal
from blocks.register import kafka_connect_from
from flows.watch_streaming import watch_streaming
from streaming.generator import sale_events
from tasks.automations import FILE, apply_automations
from tasks.connector_config import render_connector
from tasks.kafka_connect import apply_connector, open_connector
from tasks.stream_limits import StreamLimits

QUICK = StreamLimits(max_restarts=2, restart_wait_seconds=0.3, settle_seconds=15, trend_seconds=0.5)


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def told(pipeline, what: str) -> list[str]:
    EventsWorker.drain_all(timeout=5)
    return [text for text in pipeline.slack() if text.startswith("*Sales stream") and what in text]


@pytest.fixture(scope="module")
def sink(pipeline):
    return open_connector(kafka_connect_from(pipeline.settings))


def run_sql(pipeline, sql: str) -> None:
    with pipeline.warehouse.session() as connection, connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture
def failed_task(pipeline, sink):
    """A task that failed for a cause that is gone: its table was away while it started."""
    run_sql(pipeline, "alter table RAW.SALES_RAW rename to SALES_RAW_AWAY")
    try:
        sink.restart(only_failed=False)
        wait_until(lambda: sink.status().failure)
    finally:
        run_sql(pipeline, "alter table RAW.SALES_RAW_AWAY rename to SALES_RAW")


@pytest.fixture
def misconfigured(pipeline, sink):
    """A connector that no restart can heal; afterwards it has its own configuration again."""
    connect, config = (
        kafka_connect_from(pipeline.settings),
        render_connector(pipeline.settings.model_dump(mode="json")),
    )
    apply_connector(connect, config | {"snowflake.topic2table.map": "sales_events:NO_SUCH_TABLE"})
    wait_until(lambda: sink.status().failure)
    mended: list[bool] = []

    def mend() -> None:
        if not mended:
            mended.append(True)
            apply_connector(connect, config)
            wait_until(lambda: sink.status().healthy)

    yield mend
    mend()


def looks(pipeline, check: str) -> list[dict[str, Any]]:
    return pipeline.warehouse.rows(
        "select status, observed, measured, advice from MONITORING.STREAM_HEALTH where check_name = %s "
        "order by looked_at desc",
        (check,),
    )


def test_the_main_flow_heals_a_failed_task_and_takes_in_what_waited(pipeline, sink, failed_task):
    before = pipeline.warehouse.rows("select count(*) as n from RAW.SALES_RAW")[0]["n"]
    pipeline.publish(sale_events(41, 30))
    assert sink.status().tasks[0].state == "FAILED"
    summary = pipeline.run("store_sales", stream_limits=QUICK)
    assert (summary["status"], summary["stream_left_out"]) == ("completed", "")
    assert sink.status().healthy
    assert pipeline.warehouse.rows("select count(*) as n from RAW.SALES_RAW")[0]["n"] == before + 30
    assert summary["stream"]["produced"] == summary["stream"]["landed"] + summary["stream"]["dead_lettered"]
    look = looks(pipeline, "connector")[0]
    assert (look["status"], int(look["measured"])) == ("warn", 1)
    assert look["observed"].startswith("RUNNING, 1 task, after 1 restart; it had failed (task 0: ")


def test_what_cannot_heal_is_told_once_and_so_is_the_recovery(pipeline, sink, misconfigured):
    assert watch_streaming(QUICK)["status"] == "fail"
    (alert,) = wait_until(lambda: told(pipeline, "connector fail"))
    assert alert.startswith("*Sales stream: connector fail")
    assert "❌ connector: connector RUNNING; task 0 FAILED: " in alert
    assert "&#" not in alert
    assert "(after 2 restarts). Mend the cause, then run `sales connector restart`." in alert

    with pytest.raises(
        WillNotHeal, match=r"(?s)this run requires it.*task 0 FAILED.*sales connector restart"
    ):
        pipeline.run("store_sales", stream_limits=QUICK, require_stream=True)
    (posted,) = pipeline.told("The stream cannot deliver, and this run requires it")
    assert "run-sales-pipeline Failed" in posted
    assert "sales connector restart" in posted

    summary = pipeline.run("store_sales", stream_limits=QUICK)
    assert summary["status"] == "completed_without_stream"
    assert "task 0 FAILED" in summary["stream_left_out"]
    assert {"check_stream", "land"} <= set(summary["seconds"])

    misconfigured()
    after = watch_streaming(QUICK)
    assert {f["check"]: f["status"] for f in after["findings"]}["connector"] == "ok"
    (recovery,) = wait_until(lambda: told(pipeline, "recovered"))
    assert "recovered (connector)" in recovery
    watch_streaming(QUICK)
    time.sleep(1)
    assert (len(told(pipeline, "connector fail")), len(told(pipeline, "recovered"))) == (1, 1)


def test_an_automation_is_one_however_often_it_is_applied(pipeline, tmp_path):
    def known(name: str) -> list[Any]:
        with get_client(sync_client=True) as client:
            return client.read_automations_by_name(name)

    before = known("sales-stream-to-slack")
    assert {change.action for change in apply_automations(pipeline.settings)} == {"unchanged"}
    after = known("sales-stream-to-slack")
    assert [a.id for a in before] == [a.id for a in after]
    assert len(after) == 1
    declared = yaml.safe_load(FILE.read_text())["automations"][0]
    for name, change, fault in (
        (
            "no-block",
            {"actions": [{**declared["actions"][0], "block": "nope"}]},
            "no CustomWebhook.* block 'nope'",
        ),
        ("no-posture", {"trigger": {**declared["trigger"], "posture": "Sideways"}}, "no-posture: trigger"),
    ):
        file = tmp_path / f"{name}.yml"
        file.write_text(yaml.safe_dump({"automations": [declared | {"name": name} | change]}))
        with pytest.raises(WillNotHeal, match=fault):
            apply_automations(pipeline.settings, file)
        assert known(name) == []
    twice = tmp_path / "twice.yml"
    twice.write_text(yaml.safe_dump({"automations": [declared, declared]}))
    with pytest.raises(WillNotHeal, match="needs a name of its own"):
        apply_automations(pipeline.settings, twice)


def test_every_check_is_made_shown_and_kept(pipeline):
    result = watch_streaming(QUICK)
    checks = ["brokers", "topics", "connector", "lag", "landing", "event schema", "dead letters"]
    assert [f["check"] for f in result["findings"]] == checks
    by_check = {f["check"]: f for f in result["findings"]}
    assert by_check["topics"]["value"] == "sales_events has 4 partitions."
    assert (by_check["lag"]["status"], by_check["lag"]["measured"]) == ("ok", 0)
    assert by_check["dead letters"]["status"] == "ok"
    assert by_check["event schema"]["status"] == "ok"
    assert len(looks(pipeline, "landing")) >= 1
    kept = pipeline.warehouse.rows(
        "select check_name from MONITORING.STREAM_HEALTH qualify looked_at = max(looked_at) over ()"
    )
    assert sorted(row["check_name"] for row in kept) == sorted(checks)
    assert Artifact.get("sales-stream-health") is not None


def sales(*arguments: str) -> str:
    from cli.connector import app

    answer = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_the_command_line_shows_and_moves_the_connector(pipeline, sink):
    assert "RUNNING" in sales("status")
    shown = json.loads(sales("status", "--json"))
    assert (shown["name"], [task["state"] for task in shown["tasks"]]) == ("snowflake_sink", ["RUNNING"])
    assert [each["name"] for each in json.loads(sales("status", "--all", "--json"))] == ["snowflake_sink"]
    paused = sales("pause")
    assert "PAUSED" in paused
    assert "Resume it: `sales connector resume`." in paused
    assert json.loads(sales("resume", "--json"))["connector"]["state"] == "RUNNING"
    assert json.loads(sales("stop", "--json"))["tasks"] == []
    assert json.loads(sales("resume", "--json"))["tasks"][0]["state"] == "RUNNING"
    assert "RUNNING" in sales("restart", "--all")
    rows = json.loads(sales("offsets", "--json"))
    assert [row["partition"] for row in rows] == sorted({row["partition"] for row in rows})
    assert sum(row["committed"] for row in rows) == sum(row["end"] for row in rows) > 0
    assert {row["lag"] for row in rows} == {0}


def test_the_command_line_shows_and_applies_what_differs(pipeline, sink):
    assert "has this configuration already" in sales("diff")
    config = sink.config() or {}
    sink.put(config | {"errors.log.enable": "false"})
    change = {"key": "errors.log.enable", "old": "false", "new": "true"}
    assert json.loads(sales("diff", "--json")) == [change]
    assert json.loads(sales("apply", "--json")) == [change]
    assert "has this configuration already" in sales("apply")
    wait_until(lambda: sink.status().healthy)


def test_a_configuration_is_checked_key_by_key(sink):
    config = sink.config() or {}
    assert sink.validate(config) == []
    broken = {key: value for key, value in config.items() if key != "topics"} | {"tasks.max": "0"}
    faults = sink.validate(broken)
    assert [fault.key for fault in faults] == ["tasks.max", "topics"]
    assert "Value must be at least 1" in faults[0].error
