"""What `sales doctor` looks at: each check gives findings with the way to mend them, and shows no secret."""

import asyncio
import importlib.metadata
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import get_client
from prefect_databricks.jobs import jobs_runs_list

from blocks import names
from blocks.errors import WillNotHeal
from blocks.register import (
    blocks_from,
    kafka_connect_from,
    kafka_from,
    missing_settings,
    registered,
    warehouse_from,
)
from blocks.settings import Settings
from blocks.storage import Storage, delete, list_files, storage_for, upload
from tasks.connector_config import config_diff, render_connector
from tasks.connector_state import advice_for
from tasks.findings import Finding, Status
from tasks.kafka_connect import open_connector
from tasks.migrations import pending
from tasks.stream_watch import look_at_topics
from tasks.work_pool import has_worker, read_work_pool

DEPLOY = "Run `sales deploy`, which does it."
PYTHON = ((3, 11), (3, 14))
SECONDS = 15


def check_tools(embedded: bool) -> list[Finding]:
    """Look at Python, the packages that speak to the services, and the programs that are started."""
    python = sys.version_info[:2]
    found = [
        _finding(
            "python", PYTHON[0] <= python < PYTHON[1], sys.version.split()[0], "Use Python 3.11 to 3.13."
        )
    ]
    for package in ("prefect", "dbt-core", "dbt-snowflake", "prefect-databricks", "prefect-snowflake"):
        found.append(_package(package))
    git = shutil.which("git")
    if not embedded:
        found.append(_finding("git", bool(git), git or "not there", "Install git: runs clone a revision."))
    return found


def check_settings(settings: Settings) -> list[Finding]:
    """See whether every setting without which nothing can be deployed has a value."""
    missing = missing_settings(settings)
    value = f"Missing: {', '.join(missing)}." if missing else f"Complete for {settings.environment}."
    advice = "Set them in the environment or .env, name them in SALES_SECRET_IDS, or start `sales up`."
    return [_finding("settings", not missing, value, advice)]


def check_prefect(_settings: Settings) -> list[Finding]:
    """Ask the Prefect API for its health; against Cloud that shows whether the key is good too."""
    with get_client(sync_client=True) as client:
        error, address = client.api_healthcheck(), str(client.api_url)
    advice = (
        "Run `prefect cloud login`, or correct SALES_PREFECT_API_URL. For the embedded stack, `sales up`."
    )
    value = f"{address} does not answer: {type(error).__name__}." if error else f"{address} answers."
    return [_finding("prefect", error is None, value, advice)]


def check_work_pool(settings: Settings) -> list[Finding]:
    """See whether the pool is there, of the right type, not paused, and, for processes, has a worker."""
    name, pool = settings.work_pool, read_work_pool(settings.work_pool)
    if pool is None:
        return [_finding("work pool", False, f"There is no work pool {name}.", DEPLOY, "warn")]
    if pool.type != settings.work_pool_type:
        advice = "Set SALES_WORK_POOL to another name, or SALES_WORK_POOL_TYPE to its type."
        return [_finding("work pool", False, f"{name} is of type {pool.type}.", advice)]
    if pool.is_paused:
        return [
            _finding(
                "work pool", False, f"{name} is paused.", f"Run `prefect work-pool resume {name}`.", "warn"
            )
        ]
    if pool.type == "process" and not has_worker(name):
        return [_finding("work pool", False, f"{name} has no worker.", "Start one: `sales worker`.", "warn")]
    return [_finding("work pool", True, f"{name} is there.")]


def check_blocks(settings: Settings) -> list[Finding]:
    """Compare each block with the settings."""
    states = {name: registered(name, block) for name, block in blocks_from(settings).items()}
    other = [f"{name} ({state})" for name, state in states.items() if state != "unchanged"]
    value = f"{', '.join(other)}." if other else f"{len(states)} are as the settings say."
    return [_finding("blocks", not other, value, "Run `sales blocks register`, or `sales deploy`.", "warn")]


def check_warehouse(settings: Settings) -> list[Finding]:
    """Sign in, see in which role, and what migrations are missing."""
    warehouse = warehouse_from(settings)
    row = warehouse.rows("select current_user() as who, current_role() as role")[0]
    found = [_finding("warehouse", True, f"{warehouse.place} lets {row['who']} in as {row['role']}.")]
    wanted = [migration.name for migration in pending(warehouse, settings.snowflake_database)]
    value = f"Not applied: {', '.join(wanted)}." if wanted else "All are applied."
    return [*found, _finding("migrations", not wanted, value, DEPLOY, "warn")]


def check_storage(settings: Settings) -> list[Finding]:
    """List the drop, and write and remove a file in raw and processed storage."""
    aws = blocks_from(settings)[names.AWS]
    found = []
    for name in ("drop", "raw", "processed"):
        storage = storage_for(getattr(settings, f"{name}_url"), aws)  # type: ignore[arg-type]
        try:
            next(iter(list_files(storage, "_doctor")), None) if name == "drop" else _write_and_remove(storage)
        except OSError as error:
            raise WillNotHeal(f"{getattr(settings, f'{name}_url')}: {error.strerror}.") from None
        verb = "listed" if name == "drop" else "written to"
        found.append(_finding(f"{name} storage", True, f"{getattr(settings, f'{name}_url')} can be {verb}."))
    return found


def check_databricks(settings: Settings) -> list[Finding]:
    """List the newest run, which takes a login that may use jobs."""
    credentials = blocks_from(settings)[names.DATABRICKS]
    advice = "Correct SALES_DATABRICKS_HOST, and the token or service principal."
    try:
        listing = jobs_runs_list.fn(databricks_credentials=credentials, limit=1)
        asyncio.run(asyncio.wait_for(listing, SECONDS))
    except httpx.HTTPStatusError as error:
        value = f"{settings.databricks_host} answers {error.response.status_code}."
        return [_finding("databricks", False, value, advice)]
    except (httpx.TransportError, TimeoutError) as error:
        value = f"{settings.databricks_host} cannot be reached ({type(error).__name__})."
        return [_finding("databricks", False, value, advice)]
    return [_finding("databricks", True, f"{settings.databricks_host} lets us list runs.")]


def check_kafka(settings: Settings) -> list[Finding]:
    """See whether the brokers answer and the topics are as declared."""
    return look_at_topics(kafka_from(settings))


def check_connector(settings: Settings) -> list[Finding]:
    """See whether the connector runs, with the configuration that the settings give."""
    connector = open_connector(kafka_connect_from(settings))
    known = connector.config()
    if known is None:
        return [_finding("connector", False, f"There is no {names.CONNECTOR} yet.", DEPLOY, "warn")]
    status = connector.status()
    found = [_finding("connector", status.healthy, ", ".join(sorted(status.states)), advice_for(status))]
    different = [c.key for c in config_diff(known, render_connector(settings.model_dump(mode="json")))]
    value = f"Other than the settings: {', '.join(different)}." if different else "As the settings say."
    return [*found, _finding("connector settings", not different, value, DEPLOY, "warn")]


def check_alerts(settings: Settings) -> list[Finding]:
    """See whether the webhook's server answers; nothing is posted, and the secret address is not shown."""
    assert settings.alerts_webhook_url
    address = urlsplit(settings.alerts_webhook_url.get_secret_value())
    server = f"{address.scheme}://{address.netloc}"
    try:
        httpx.get(server, timeout=SECONDS)
    except httpx.HTTPError as error:
        advice = "Correct SALES_ALERTS_WEBHOOK_URL, or let this machine reach it."
        return [
            _finding(
                "alerts", False, f"{address.hostname} cannot be reached ({type(error).__name__}).", advice
            )
        ]
    return [_finding("alerts", True, f"{address.hostname} answers.")]


CHECKS: dict[str, Callable[[Settings], list[Finding]]] = {
    "prefect": check_prefect,
    "work pool": check_work_pool,
    "blocks": check_blocks,
    "warehouse": check_warehouse,
    "storage": check_storage,
    "databricks": check_databricks,
    "kafka": check_kafka,
    "connector": check_connector,
    "alerts": check_alerts,
}


def _package(name: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return _finding(name, False, "not installed", "Run `make install`.")
    return _finding(name, True, version)


def _write_and_remove(storage: Storage) -> None:
    path = f"_doctor/{uuid.uuid4().hex}"
    with TemporaryDirectory() as folder:
        probe = Path(folder) / "probe"
        probe.write_text("sales doctor was here\n")
        upload(storage, probe, path)
    delete(storage, path)


def _finding(check: str, good: bool, value: str, advice: str = "", otherwise: Status = "fail") -> Finding:
    return Finding(check, "ok" if good else otherwise, value, "", "" if good else advice)
