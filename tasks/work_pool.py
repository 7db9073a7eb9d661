"""The Prefect work pool that the deployments run in: made where it is missing, never replaced."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkerStatus, WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from blocks.errors import WillNotHeal
from tasks.changes import Change

# A worker tells of itself every 30 seconds unless told otherwise.
SILENT_SECONDS = 90


def read_work_pool(name: str) -> WorkPool | None:
    """Read the work pool; None if there is none of that name."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_work_pool(name)
        except ObjectNotFound:
            return None


def plan_work_pool(name: str, kind: str) -> list[Change]:
    """Say whether the pool is to be made. Raises WillNotHeal if it is there with another type."""
    pool = read_work_pool(name)
    if pool is None:
        return [Change(name, "create", kind)]
    if pool.type != kind:
        raise WillNotHeal(
            f"The work pool {name} is of type {pool.type}, not {kind}. Set SALES_WORK_POOL to another name, or "
            "SALES_WORK_POOL_TYPE to its type."
        )
    return [Change(name, "unchanged", kind)]


def create_work_pool(name: str, kind: str) -> None:
    """Make the pool with its type's own template; one that somebody else made meanwhile is left alone."""
    pool = WorkPoolCreate(name=name, type=kind, base_job_template=_template(kind))
    with get_client(sync_client=True) as client:
        client.create_work_pool(pool, overwrite=False)


def has_worker(name: str) -> bool:
    """Say whether a worker polls the pool now."""
    since = datetime.now(UTC) - timedelta(seconds=SILENT_SECONDS)
    with get_client(sync_client=True) as client:
        workers = client.read_workers_for_work_pool(name)
    return any(
        worker.status == WorkerStatus.ONLINE
        and worker.last_heartbeat_time
        and worker.last_heartbeat_time > since
        for worker in workers
    )


def _template(kind: str) -> dict[str, Any]:
    if kind == ProcessWorker.type:
        return ProcessWorker.get_default_base_job_template()
    template = asyncio.run(get_default_base_job_template_for_infrastructure_type(kind))
    if template is None:
        raise WillNotHeal(f"This Prefect does not know work pools of type {kind}.")
    return template
