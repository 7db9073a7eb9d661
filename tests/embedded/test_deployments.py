"""prefect.yaml, deployed for real on the embedded server: what is there, and that an arrival starts a run."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.flows import load_flow_from_entrypoint
from prefect.workers.process import ProcessWorker

from blocks.settings import PROJECT, process_environment

KEYS = {
    *("name", "version", "tags", "work_pool", "entrypoint", "description", "parameters"),
    *("concurrency_limit", "schedules", "triggers"),
}
DECLARED = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]


def test_no_key_is_misspelt():
    """Prefect ignores a key it does not know."""
    assert {key for deployment in DECLARED for key in deployment} <= KEYS


@pytest.mark.parametrize("declared", DECLARED, ids=lambda d: d["entrypoint"].rpartition(":")[2])
def test_parameters_are_the_flows_own(declared):
    flow = load_flow_from_entrypoint(f"{PROJECT / declared['entrypoint']}", use_placeholder_flow=False)
    assert set(declared.get("parameters", {})) <= set(flow.parameters.properties)


@pytest.fixture(scope="module")
def deployed(pipeline):
    with get_client(sync_client=True) as client:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name="local", type="process", base_job_template=template), overwrite=True
        )
    values = {
        "SALES_ENVIRONMENT": "embedded",
        "SALES_WORK_POOL": "local",
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
    with get_client(sync_client=True) as client:
        return {deployment.entrypoint: deployment for deployment in client.read_deployments()}


def test_every_declared_deployment_is_there(deployed):
    assert set(deployed) == {declared["entrypoint"] for declared in DECLARED}
    for deployment in deployed.values():
        assert (deployment.name, deployment.version, deployment.work_pool_name) == (
            "embedded",
            "0123abc",
            "local",
        )
    daily = deployed["flows/run_sales_pipeline.py:run_sales_pipeline"]
    assert [schedule.schedule.cron for schedule in daily.schedules] == ["15 5 * * *"]
    assert daily.global_concurrency_limit.limit == 1


def test_an_arrival_starts_a_run_of_its_feed(deployed):
    main = deployed["flows/run_sales_pipeline.py:run_sales_pipeline"]
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
