"""`sales verify`: the deployed environment is looked at and its deployments are run once, without writing test data."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer

from blocks.errors import WillNotHeal
from blocks.settings import Settings, load_stack_settings
from cli import doctor
from cli.console import prefect_at, say, settings_or_fail, step
from cli.environment import Environment, prepare_for

# One looks at brokers, topics, connector and lag; the other takes every step whose input has arrived.
SMOKE: dict[str, dict[str, Any]] = {"watch-streaming": {}, "run-sales-pipeline": {"lag_timeout_seconds": 60}}
TIMEOUT_SECONDS = 1800
POLL_SECONDS = 1.0


def verify(
    env: Environment = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Make the doctor's checks, then run the deployments that look at the stream and that publish.

    No test row is ever sent: events and files are counted and kept for ever, so one could not be taken back
    without breaking the accounts. What has arrived anyway is what the smoke run processes.
    """
    embedded = prepare_for(env)
    settings = settings_or_fail(env)
    with prefect_at(settings):
        findings = doctor.examine(settings, embedded)
        doctor.show(findings, as_json)
        if any(finding.status == "fail" for finding in findings):
            raise typer.Exit(1)
        make_runs(settings, embedded)


def smoke_runs(settings: Settings) -> list[str]:
    """Name the deployments that are run."""
    return [f"{flow}/{settings.environment}" for flow in SMOKE]


def make_runs(settings: Settings, embedded: bool) -> None:
    """Run each smoke deployment to its end. Raises WillNotHeal if one does not complete, with its reason.

    A laptop's pool that no worker polls gets one for that time.
    """
    with _worker(settings, embedded):
        for flow, parameters in SMOKE.items():
            with step(f"{flow}/{settings.environment} completed"):
                run_to_the_end(f"{flow}/{settings.environment}", parameters)


def run_to_the_end(deployment: str, parameters: dict[str, Any], timeout: float = TIMEOUT_SECONDS) -> Any:
    """Run a deployment and wait; give its flow run. Raises WillNotHeal if it does not complete in time."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        run = client.create_flow_run_from_deployment(found.id, parameters=parameters, tags=["sales", "smoke"])
        say(f"{deployment}: run {run.name}")
        deadline = time.monotonic() + timeout
        while not (run.state and run.state.is_final()):
            if time.monotonic() > deadline:
                state = run.state.name if run.state else "unknown"
                raise WillNotHeal(
                    f"{deployment} is {state} after {timeout:.0f} s. If it never began, no worker takes its runs: "
                    "see the work pool in Prefect, or `sales doctor`."
                )
            time.sleep(POLL_SECONDS)
            run = client.read_flow_run(run.id)
    if not run.state.is_completed():
        raise WillNotHeal(f"{deployment} ended {run.state.name}: {run.state.message} (flow run {run.id})")
    return run


def worker(env: Environment = None) -> None:
    """Run a worker for this environment's process pool in this terminal, until Ctrl-C."""
    prepare_for(env)
    settings = settings_or_fail(env)
    if settings.work_pool_type != "process":
        raise WillNotHeal(f"{settings.work_pool} is of type {settings.work_pool_type} and needs no worker.")
    from local.worker import start_worker

    process = start_worker(settings.work_pool, settings.prefect_api_url)
    try:
        raise typer.Exit(process.wait())
    except KeyboardInterrupt:
        process.wait()


def _worker(settings: Settings, embedded: bool) -> AbstractContextManager[Any]:
    from local.worker import working
    from tasks.work_pool import has_worker

    if not embedded or settings.work_pool_type != "process" or has_worker(settings.work_pool):
        return nullcontext()
    log = load_stack_settings().home.resolve() / "logs" / "worker.log"
    say(f"No worker polls {settings.work_pool}: one works for the smoke runs; log in {log}")
    return working(settings.work_pool, settings.prefect_api_url, log)
