"""Alerts, from a run's end to the message in Slack, through the Prefect server's own automations."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.events.worker import EventsWorker
from prefect.flow_engine import run_flow
from prefect.states import Pending

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT, process_environment
from flows.watch_deadline import watch_deadline
from tasks.alerts import HOOKS
from tasks.automations import FILE, apply_automations

FLOW = "weigh-in"
# The shortest that a proactive trigger takes.
WINDOW_SECONDS = 10
QUIET_SECONDS = 2


@task(name="read the scale")
def read_scale(scale: str) -> str:
    """Fail without a scale, and take a minute if it is said to be slow."""
    if not Path(scale).exists():
        raise WillNotHeal("The scale is gone. Bring it back.\n  It was blue.")
    if Path(scale).read_text() == "slow":
        Path(scale).with_suffix(".weighing").touch()
        time.sleep(60)
    return Path(scale).read_text()


@flow(name=FLOW, flow_run_name="{scale}", **HOOKS)
def weigh_in(scale: str) -> str:
    """Something small that can go wrong."""
    return read_scale(scale)


@flow(name="weigh-in-twice", **HOOKS)
def weigh_in_twice(scale: str) -> list[str]:
    """A flow whose runs are inside another's."""
    return [weigh_in(scale), weigh_in(scale)]


def of(pipeline, words):
    return [text for text in pipeline.slack() if words in text]


@pytest.fixture
def scale(tmp_path):
    return tmp_path / "scale"


def newest_run(client) -> FlowRun:
    from prefect.client.schemas.filters import FlowFilter
    from prefect.client.schemas.sorting import FlowRunSort

    named = FlowFilter.model_validate({"name": {"any_": [FLOW]}})
    return client.read_flow_runs(flow_filter=named, sort=FlowRunSort.START_TIME_DESC, limit=1)[0]


def page_of(pipeline, run):
    return f"{pipeline.settings.prefect_api_url.removesuffix('/api')}/runs/flow-run/{run.id}"


def test_a_failing_run_is_told_once_and_so_is_the_recovery(pipeline, scale):
    with pytest.raises(WillNotHeal):
        weigh_in(str(scale))
    (message,) = pipeline.told(str(scale))
    with get_client(sync_client=True) as client:
        failed = newest_run(client)
    assert message.splitlines() == [
        f"*{FLOW} Failed: {scale}*",
        "Failing task: read the scale",
        "Error: The scale is gone. Bring it back.",
        "  It was blue.",
        f"Run: {page_of(pipeline, failed)}",
        "Runbook: docs/runbooks/run-failed.md",
    ]
    scale.write_text("12 kg")
    assert weigh_in(str(scale)) == "12 kg"
    (recovery,) = pipeline.told(f"{FLOW} recovered: {scale}")
    assert f"It completed, after run {scale} had failed at " in recovery
    assert "Run: http://127.0.0.1" in recovery
    weigh_in(str(scale))
    EventsWorker.drain_all(timeout=5)
    time.sleep(QUIET_SECONDS)
    assert sorted(of(pipeline, str(scale))) == sorted([message, recovery])


def test_nothing_is_told_of_a_healthy_run(pipeline, scale):
    scale.write_text("12 kg")
    before = len(pipeline.slack())
    weigh_in(str(scale))
    weigh_in_twice(str(scale))
    EventsWorker.drain_all(timeout=5)
    time.sleep(QUIET_SECONDS)
    assert [text for text in pipeline.slack()[before:] if "weigh-in" in text] == []


def test_a_run_inside_another_is_told_by_the_outer_one_alone(pipeline, scale):
    before = len(pipeline.slack())
    with pytest.raises(WillNotHeal):
        weigh_in_twice(str(scale))
    assert pipeline.told("weigh-in-twice Failed")
    time.sleep(QUIET_SECONDS)
    (message,) = [text for text in pipeline.slack()[before:] if "weigh-in" in text]
    assert "Failing task: read the scale" in message


@pytest.fixture(scope="module")
def deployment(pipeline, tmp_path_factory):
    """A deployment of the flow, watched by the declared automations with shorter windows and for this flow."""
    declared = {each["name"]: each for each in yaml.safe_load(FILE.read_text())["automations"]}
    late, silent = declared["sales-watch-late"], declared["sales-crash-what-is-silent"]
    *ours, _flows = late["trigger"]["match_related"]
    match = {"match_related": [*ours, {"prefect.resource.role": "flow", "prefect.resource.name": FLOW}]}
    quick = [
        each
        | {"name": f"quick-{each['name']}", "needs_schedules": False}
        | {"trigger": each["trigger"] | match | {"within": WINDOW_SECONDS}}
        for each in (late, silent)
    ]
    file = tmp_path_factory.mktemp("automations") / "automations.yml"
    file.write_text(yaml.safe_dump({"automations": quick}))
    assert [change.action for change in apply_automations(pipeline.settings, file)] == ["create", "create"]
    with get_client(sync_client=True) as client:
        deployed = client.create_deployment(
            flow_id=client.create_flow_from_name(FLOW),
            name="alerts",
            entrypoint=f"{Path(__file__).relative_to(PROJECT)}:weigh_in",
            path=str(PROJECT),
            tags=["sales"],
        )
        yield deployed
        client.delete_deployment(deployed)
        for each in quick:
            client.delete_automation(client.read_automations_by_name(each["name"])[0].id)


def start(client, deployment, scale):
    run = client.create_flow_run_from_deployment(
        deployment, parameters={"scale": str(scale)}, state=Pending(), name=str(scale)
    )
    return client.read_flow_run(run.id)


def carry_out(pipeline, run, log):
    """Start a process for a deployment's run, as a worker does."""
    environment = {
        "PREFECT_API_URL": pipeline.settings.prefect_api_url,
        "PREFECT__FLOW_RUN_ID": str(run.id),
        "PYTHONPATH": str(PROJECT),
    }
    command = [sys.executable, "-m", "prefect.engine"]
    with log.open("w") as out:
        return subprocess.Popen(
            command, cwd=PROJECT, env=process_environment(environment), stdout=out, stderr=out
        )


@pytest.fixture(scope="module")
def late(pipeline, deployment, tmp_path_factory):
    """A healthy run of the deployment, after which none comes."""
    scale = tmp_path_factory.mktemp("late") / "scale"
    scale.write_text("12 kg")
    with get_client(sync_client=True) as client:
        run = start(client, deployment, scale)
    assert run_flow(weigh_in, flow_run=run, parameters=run.parameters) == "12 kg"
    EventsWorker.drain_all(timeout=5)
    return run, time.monotonic()


def test_a_run_that_fails_in_a_process_of_its_own_is_told_once(pipeline, deployment, late, scale):
    with get_client(sync_client=True) as client:
        run = start(client, deployment, scale)
    process = carry_out(pipeline, run, scale.with_suffix(".log"))
    process.wait(timeout=60)
    (message,) = pipeline.told(str(scale))
    assert f"Failed: {scale}*\nFailing task: read the scale\nError: The scale is gone." in message
    assert f"Run: {page_of(pipeline, run)}\n" in message
    time.sleep(QUIET_SECONDS)
    assert of(pipeline, str(scale)) == [message]


def test_a_killed_run_is_told_once(pipeline, deployment, late, scale):
    scale.write_text("slow")
    with get_client(sync_client=True) as client:
        run = start(client, deployment, scale)
    process = carry_out(pipeline, run, scale.with_suffix(".log"))
    deadline = time.monotonic() + 60
    while not scale.with_suffix(".weighing").exists():
        assert process.poll() is None, scale.with_suffix(".log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)  # the first heartbeat is on its way
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (message,) = pipeline.told(f"{FLOW} Crashed", seconds=60)
    assert message.splitlines() == [
        f"*{FLOW} Crashed: {scale}*",
        "Failing task: what the run's page shows as running; its process is gone",
        "Error: The run's process gave no sign of life any more: it was killed, or its machine is gone.",
        f"Run: {page_of(pipeline, run)}",
        "Runbook: docs/runbooks/run-crashed.md",
    ]
    scale.write_text("12 kg")
    weigh_in(str(scale))
    (recovery,) = pipeline.told(f"{FLOW} recovered: {scale}")
    assert f"after run {scale} had crashed" in recovery
    time.sleep(QUIET_SECONDS)
    assert sorted(of(pipeline, str(scale))) == sorted([message, recovery])


def test_a_late_flow_is_told_once(pipeline, late):
    run, since = late
    (message,) = pipeline.told(f"{FLOW} is late")
    lines = message.splitlines()
    assert lines[0] == f"*{FLOW} is late*"
    assert lines[1].startswith("No run has completed since 20")
    assert lines[2:] == [f"Last good run: {page_of(pipeline, run)}", "Runbook: docs/runbooks/run-late.md"]
    # Two windows, each with the server's look at it every five seconds, and the message's way.
    time.sleep(max(0, since + 2 * (WINDOW_SECONDS + 5) + QUIET_SECONDS - time.monotonic()))
    assert pipeline.told(f"{FLOW} is late") == [message]


def run_sql(pipeline, sql):
    with pipeline.warehouse.session() as connection, connection.cursor() as cursor:
        cursor.execute(sql)


def test_marts_that_are_overdue_are_told_at_the_deadline(pipeline):
    row = "insert into MONITORING.PIPELINE_RUNS (run_id, status, finished_at) select 'deadline', '{}', sysdate()"
    run_sql(pipeline, "update MONITORING.PIPELINE_RUNS set finished_at = dateadd(day, -2, finished_at)")
    try:
        run_sql(pipeline, row.format("completed_without_publishing"))
        assert watch_deadline("UTC") is False
        (message,) = pipeline.told("Sales marts overdue")
        assert message.endswith("Runbook: docs/runbooks/marts-overdue.md")
        run_sql(pipeline, row.format("completed"))
        assert watch_deadline("UTC") is True
        EventsWorker.drain_all(timeout=5)
        time.sleep(QUIET_SECONDS)
        assert pipeline.told("Sales marts overdue") == [message]
    finally:
        run_sql(pipeline, "delete from MONITORING.PIPELINE_RUNS where run_id = 'deadline'")
        run_sql(pipeline, "update MONITORING.PIPELINE_RUNS set finished_at = dateadd(day, 2, finished_at)")
