"""Availability: every service is asked side by side, each with a limit of time; the answer's latency is kept."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.filesystems import LocalFileSystem
from prefect_databricks import DatabricksCredentials
from prefect_databricks.jobs import jobs_runs_list

from blocks import names
from blocks.errors import MayHeal, SalesError, WillNotHeal
from blocks.kafka import KafkaCluster
from blocks.kafka_connect import KafkaConnect
from blocks.load import load_block
from blocks.storage import Storage, list_files, load_storage, uri
from blocks.warehouse import SalesWarehouse
from tasks.findings import Finding
from tasks.kafka import topic_partitions
from tasks.kafka_connect import open_connector
from tasks.side_by_side import within
from tasks.slos import Slo, Slos, judge, read_slos

Probe = Callable[[], object]
STORAGES = {
    "storage_drop": names.DROP_STORAGE,
    "storage_raw": names.RAW_STORAGE,
    "storage_processed": names.PROCESSED_STORAGE,
}


def ask_kafka(cluster: KafkaCluster) -> None:
    """List the topics."""
    topic_partitions(cluster)


def ask_connect(connect: KafkaConnect) -> None:
    """Ask the REST API for its version; on MSK Connect, for the connector."""
    if connect.msk_connector_arn:
        open_connector(connect).status()
        return
    with connect.client() as client:
        client.get("/").raise_for_status()


def ask_warehouse(warehouse: SalesWarehouse) -> None:
    """Sign in and run a query that touches no table."""
    warehouse.rows("select current_user() as who")


def ask_databricks(credentials: DatabricksCredentials) -> None:
    """List the newest run, which takes a login that may use jobs."""
    asyncio.run(jobs_runs_list.fn(databricks_credentials=credentials, limit=1))


def ask_storage(storage: Storage) -> None:
    """List what is under a prefix; for a local folder, see that it is there. Raises WillNotHeal if it is not."""
    if isinstance(storage, LocalFileSystem) and not Path(str(storage.basepath)).is_dir():
        raise WillNotHeal(f"{uri(storage)} is not there.")
    next(iter(list_files(storage, "_probe")), None)


def ask_prefect() -> None:
    """Ask the API in use for its health. Raises MayHeal if it does not answer."""
    with get_client(sync_client=True) as client:
        if error := client.api_healthcheck():
            raise MayHeal(f"{client.api_url} does not answer: {type(error).__name__}.")


def probes() -> dict[str, Probe]:
    """Give every service's probe by the component's name; a block is loaded when it is asked."""

    def loading(kind: Any, name: str, ask: Callable[[Any], object]) -> Probe:
        return lambda: ask(load_block(kind, name))

    return {
        "kafka": loading(KafkaCluster, names.KAFKA, ask_kafka),
        "connect": loading(KafkaConnect, names.KAFKA_CONNECT, ask_connect),
        "warehouse": loading(SalesWarehouse, names.WAREHOUSE, ask_warehouse),
        "databricks": loading(DatabricksCredentials, names.DATABRICKS, ask_databricks),
        **{
            part: partial(lambda name: ask_storage(load_storage(name)), name)
            for part, name in STORAGES.items()
        },
        "prefect": ask_prefect,
    }


def ask_all(asked: Mapping[str, Probe], slo: Slo) -> list[Finding]:
    """Ask side by side; what has not answered after `fail` seconds fails, and is not waited for."""
    answers = within(slo.fail, {part: partial(timed, part, probe, slo) for part, probe in asked.items()})
    late = f"It has not answered for {slo.fail:g} s."
    return [answers[part] if part in answers else _down(part, late, slo) for part in asked]


def timed(part: str, probe: Probe, slo: Slo) -> Finding:
    """Ask one service: its latency in seconds, or why there is no answer."""
    began = time.monotonic()
    try:
        probe()
    except SalesError as error:
        return _down(part, error.what, slo, error.advice)
    except Exception as error:  # whatever a client raises, the service did not answer
        return _down(part, f"{type(error).__name__}: {str(error)[:200]}", slo)
    seconds = round(time.monotonic() - began, 3)
    return judge(f"available {part}", seconds, f"It answers in {seconds:.2f} s.", slo, " s", "It is slow.")


def _down(part: str, what: str, slo: Slo, advice: str = "") -> Finding:
    told = f"{advice or 'See that it runs and that this machine may reach it.'} See {slo.runbook}."
    return Finding(f"available {part}", "fail", what, f"answers within {slo.fail:g} s", told)


@task(name="probe the services", cache_policy=NO_CACHE)
def probe_services(slos: Slos | None = None) -> list[Finding]:
    """Ask every service whether it is there, and how fast it answers."""
    return ask_all(probes(), (slos or read_slos()).of("available"))
