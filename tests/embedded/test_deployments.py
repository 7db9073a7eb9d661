"""prefect.yaml, deployed for real on the embedded server: what is there, what a second deployment changes, pruning."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import emit_event
from prefect.events.worker import EventsWorker

from blocks.errors import WillNotHeal
from blocks.register import register
from blocks.settings import PROJECT, process_environment
from cli.deploy_steps import BLOCKS, steps
from cli.doctor import examine
from tasks.changes import needed
from tasks.deployments import apply_deployments, plan_deployments
from tasks.work_pool import create_work_pool, plan_work_pool, read_work_pool

DECLARED = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
MAIN = "flows/run_sales_pipeline.py:run_sales_pipeline"


def by_entrypoint():
    with get_client(sync_client=True) as client:
        return {each.entrypoint: each for each in client.read_deployments()}


@pytest.fixture(scope="module")
def pool(pipeline):
    settings = pipeline.settings
    if read_work_pool(settings.work_pool) is None:
        create_work_pool(settings.work_pool, settings.work_pool_type)
    return settings.work_pool


@pytest.fixture(scope="module")
def deployed(pipeline, pool):
    values = {
        "SALES_ENVIRONMENT": "embedded",
        "SALES_WORK_POOL": pool,
        "SALES_SCHEDULES_ACTIVE": "false",
        "SALES_RESULT_STORAGE": "local-file-system/sales-results",
        "SALES_REPOSITORY": PROJECT.as_uri(),
        "SALES_REVISION": "0123abc",
        "PREFECT_API_URL": pipeline.settings.prefect_api_url,
    }
    prefect = Path(sys.executable).with_name("prefect")
    answer = subprocess.run(
        [prefect, "--no-prompt", "deploy", "--all"],
        cwd=PROJECT,
        env=process_environment(values),
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return by_entrypoint()


def test_every_declared_deployment_is_there(deployed, pool):
    assert set(deployed) == {declared["entrypoint"] for declared in DECLARED}
    for deployment in deployed.values():
        assert (deployment.name, deployment.version) == ("embedded", "0123abc")
        assert (deployment.work_pool_name, sorted(deployment.tags)) == (pool, ["embedded", "sales"])
        assert deployment.job_variables["env"]["SALES_ENVIRONMENT"] == "embedded"
        assert deployment.global_concurrency_limit.limit == 1
        (clone, install) = [next(iter(step.values())) for step in deployment.pull_steps]
        assert (clone["commit_sha"], install["requirements_file"]) == ("0123abc", "requirements/runtime.txt")
    daily = deployed[MAIN]
    (schedule,) = daily.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("15 5 * * *", "Europe/London")
    assert not schedule.active


def test_an_arrival_starts_a_run_of_its_feed(deployed):
    main = deployed[MAIN]
    emit_event(
        "sales.file.arrived",
        resource={"prefect.resource.id": "sales.drop.of_this_test"},
        payload={"feed": "online_retail"},
    )
    EventsWorker.drain_all(timeout=5)
    deadline = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while True:
            runs = [r for r in client.read_flow_runs() if r.deployment_id == main.id and not r.auto_scheduled]
            if runs:
                break
            assert time.monotonic() < deadline, "the event started nothing"
            time.sleep(0.5)
        assert runs[0].parameters == {"feed": "online_retail", "allowed_lag": 1000}
        client.delete_flow_run(runs[0].id)  # no worker of a later test is to take it


@pytest.fixture(scope="module")
def applied(pipeline, deployed):
    """The same by `sales deploy`'s own step, from the folder instead of a clone."""
    return apply_deployments(pipeline.settings)


def test_what_differs_is_named_and_written(pipeline, applied, deployed):
    assert {change.action for change in applied} == {"update"}
    for change in applied:
        assert change.detail == "version, pull steps"
    for entrypoint, deployment in by_entrypoint().items():
        assert deployment.id == deployed[entrypoint].id
        assert deployment.pull_steps == [
            {"prefect.deployments.steps.set_working_directory": {"directory": str(PROJECT)}}
        ]


def test_a_second_deployment_changes_nothing(pipeline, applied, pool):
    for step in steps(pipeline.settings, None):
        if needed(step.plan()):
            step.apply()
    before = by_entrypoint()
    with get_client(sync_client=True) as client:
        automations = {each.id for each in client.read_automations(limit=200)}
        documents = {each.id: each.updated for each in client.read_block_documents()}
    for step in steps(pipeline.settings, None):
        assert needed(step.plan()) == [], step.name
        step.apply() if step.name not in ("work pool", "warehouse") else None
    with get_client(sync_client=True) as client:
        assert {each.id for each in client.read_automations(limit=200)} == automations
        assert {each.id: each.updated for each in client.read_block_documents()} == documents
    after = by_entrypoint()
    assert {e: (d.id, d.updated) for e, d in after.items()} == {
        e: (d.id, d.updated) for e, d in before.items()
    }


def test_every_block_that_is_made_is_in_the_plan(pipeline, applied):
    (blocks,) = [step for step in steps(pipeline.settings, None) if step.name == "blocks"]
    assert sorted(change.what for change in blocks.plan()) == sorted(BLOCKS)


def test_a_block_that_was_changed_is_written_again_alone(pipeline, applied):
    changed = pipeline.settings.model_copy(update={"databricks_poll_seconds": 0.25})
    assert list(register(changed)) == ["sales-databricks-cluster"]
    assert list(register(pipeline.settings)) == ["sales-databricks-cluster"]
    assert list(register(pipeline.settings)) == []


def test_what_the_file_no_longer_has_goes_and_what_is_not_ours_stays(pipeline, applied, pool):
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("gone-flow")
        ours = client.create_deployment(flow, "embedded", tags=["sales", "embedded"], work_pool_name=pool)
        other = client.create_flow_from_name("somebody-elses")
        theirs = client.create_deployment(other, "embedded", tags=["sales", "prod"], work_pool_name=pool)
        replay = by_entrypoint()["flows/replay_quarantine.py:replay_quarantine"]
        cron = CronSchedule(cron="0 0 * * *", timezone="UTC")
        client.create_deployment_schedules(replay.id, [(cron, False)])
    changes = needed(plan_deployments(pipeline.settings))
    assert [(c.what, c.action, c.detail) for c in changes] == [
        ("replay-quarantine/embedded", "update", "schedules"),
        ("gone-flow/embedded", "delete", "not in prefect.yaml any more"),
    ]
    apply_deployments(pipeline.settings)
    assert needed(plan_deployments(pipeline.settings)) == []
    with get_client(sync_client=True) as client:
        left = {each.id for each in client.read_deployments()}
        assert ours not in left
        assert theirs in left
        assert client.read_deployment(replay.id).schedules == []
        client.delete_deployment(theirs)


def test_a_pool_of_another_type_is_refused(pipeline, pool):
    with pytest.raises(WillNotHeal, match=f"{pool} is of type process, not prefect:managed"):
        plan_work_pool(pool, "prefect:managed")


def test_the_doctor_finds_a_running_stack_well(pipeline, applied):
    findings = {finding.check: finding for finding in examine(pipeline.settings, embedded=True)}
    assert {name: f.value for name, f in findings.items() if f.status == "fail"} == {}
    assert findings["work pool"].advice == "Start one: `sales worker`."
    assert {name for name, f in findings.items() if f.status == "warn"} <= {"work pool", "connector"}
    assert {"prefect", "blocks", "warehouse", "raw storage", "databricks", "brokers", "alerts"} <= set(
        findings
    )
    probes = pipeline.home / "storage" / "raw" / "_doctor"
    assert list(probes.iterdir()) == []


def test_the_doctor_says_what_is_broken_and_shows_no_secret(pipeline, applied):
    broken = pipeline.settings.model_copy(
        update={
            "snowflake_endpoint": "http://127.0.0.1:9",
            "databricks_token": type(pipeline.settings.databricks_token)("wrong-hunter2"),
            "alerts_webhook_url": type(pipeline.settings.databricks_token)("http://127.0.0.1:9/hunter2"),
            "kafka_connect_url": "http://127.0.0.1:9",
        }
    )
    began = time.monotonic()
    findings = {finding.check: finding for finding in examine(broken, embedded=True, timeout=8)}
    assert time.monotonic() - began < 20
    failed = {name for name, finding in findings.items() if finding.status == "fail"}
    assert failed == {"warehouse", "databricks", "alerts", "connector"}
    assert "403" in findings["databricks"].value or "401" in findings["databricks"].value
    assert findings["connector"].value == "No answer within 8 s."
    assert findings["blocks"].status == "warn"
    assert all(findings[name].advice or "reached" in findings[name].value for name in failed)
    assert "hunter2" not in str(findings)
