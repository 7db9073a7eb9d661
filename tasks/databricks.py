"""Databricks: one Spark run per batch, submitted once, found again after a restart, cancelled with the flow.

prefect-databricks carries the calls. It polls without retries and leaves the remote run going when the
flow ends early, so the waiting is ours.
"""

import asyncio
import hashlib
import json
import logging
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from prefect import Task, get_run_logger, task
from prefect_databricks import DatabricksCredentials
from prefect_databricks.jobs import jobs_runs_cancel, jobs_runs_get, jobs_runs_get_output, jobs_runs_submit
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from blocks import names
from blocks.databricks import DatabricksCluster
from blocks.errors import WillNotHeal, may_heal
from blocks.feeds import job_spec, load_contract, load_feed
from blocks.load import load_block
from blocks.settings import PROJECT
from blocks.storage import Storage, download, exists, load_storage, upload, uri
from tasks.landing import LandedFile
from tasks.retries import RETRY

JOB_FILE = PROJECT / "spark_jobs" / "sales_batch.py"
FINISHED = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})
# A server that is down for longer than this is an outage, not a hiccup.
OUTAGE_SECONDS = 300
MAX_ATTEMPTS = 50
CLOCK_SKEW_SECONDS = 60
# What a healthy job prints fits; of a talkative one the end is what counts.
LOG_LINES = 100
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


@dataclass(frozen=True)
class SparkRun:
    """A finished Databricks run: its id and the page that shows it."""

    run_id: int
    page: str


def batch_id_of(feed: str, files: list[LandedFile]) -> str:
    """Name a batch by its content: its files, its feed's declaration, the contract and the job's code."""
    manifest = [
        [file.name, file.size, file.checksum] for file in sorted(files, key=lambda f: (f.name, f.checksum))
    ]
    rules = [load_feed(feed).model_dump(mode="json"), load_contract().model_dump(mode="json")]
    text = json.dumps([manifest, rules, _job_version()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def metrics_path(batch_id: str) -> str:
    """Name the file in processed storage that the Spark job writes last."""
    return f"sales_batch/{batch_id}/_metrics.json"


def read_metrics(processed: Storage, batch_id: str) -> dict[str, Any] | None:
    """Read a finished batch's counts; None if the batch is not finished."""
    if not exists(processed, metrics_path(batch_id)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(
            download(processed, metrics_path(batch_id), Path(folder) / "metrics.json").read_text()
        )


def stage_job(processed: Storage, batch_id: str, spec: dict[str, Any]) -> tuple[str, str]:
    """Put the job's code (under its hash) and this batch's specification where Spark can read them."""
    code, order = upload_job(processed), f"sales_batch/{batch_id}/spec.json"
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "spec.json"
        local.write_text(json.dumps(spec))  # in order: rule ids are told in the order of the contract
        upload(processed, local, order)
    return uri(processed, code), uri(processed, order)


def job_path() -> str:
    """Name the job's code in processed storage: by its content, so that a version is uploaded once."""
    return f"jobs/sales_batch-{_job_version()}.py"


def upload_job(processed: Storage) -> str:
    """Upload the job's code unless this version is there already; give its path."""
    if not exists(processed, job_path()):
        upload(processed, JOB_FILE, job_path())
    return job_path()


def _job_version() -> str:
    return hashlib.sha256(JOB_FILE.read_bytes()).hexdigest()[:16]


async def run_to_the_end(
    credentials: DatabricksCredentials,
    cluster: DatabricksCluster,
    submission: dict[str, Any],
    logger: Log,
) -> SparkRun:
    """Submit a run, or find the one that an earlier try left going, and wait until it has finished.

    Raises WillNotHeal with the job's own error and the run's page if it failed. Whatever ends the wait
    early (a cancelled flow, a timeout, a crash of this code) cancels the remote run.
    """
    run_id = await _submit(credentials, submission)
    try:
        run = await _wait(credentials, run_id, cluster, logger)
    except BaseException:
        await asyncio.shield(_patiently(jobs_runs_cancel, credentials, run_id=run_id))
        raise
    await _report(credentials, run, logger)
    return SparkRun(run_id, run["run_page_url"])


async def _submit(credentials: DatabricksCredentials, submission: dict[str, Any]) -> int:
    """Submit under the batch's token; give the run's id.

    Databricks answers a known token with the known run, ended ones included. One that ended badly, or ended
    long ago (its output was read then, or has been deleted since), makes room for the next attempt's token.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        order = submission | {"idempotency_token": f"{submission['idempotency_token']}-{attempt}"}
        began = time.time()
        run_id = (await _patiently(jobs_runs_submit, credentials, **order))["run_id"]
        run = await _patiently(jobs_runs_get, credentials, run_id=run_id)
        if run["state"]["life_cycle_state"] not in FINISHED:
            return run_id
        is_ours = run["start_time"] / 1000 > began - CLOCK_SKEW_SECONDS
        if run["state"].get("result_state") == "SUCCESS" and is_ours:
            return run_id
    raise WillNotHeal(
        f"{MAX_ATTEMPTS} runs of this batch have ended without a result. See the last, {run['run_page_url']}, mend "
        "the cause, and change the feed or the job: a batch is named by its files and its rules."
    )


async def _wait(
    credentials: DatabricksCredentials, run_id: int, cluster: DatabricksCluster, logger: Log
) -> dict[str, Any]:
    last = ""
    deadline = time.monotonic() + cluster.timeout_seconds
    while time.monotonic() < deadline:
        run = await _patiently(jobs_runs_get, credentials, run_id=run_id)
        state = run["state"]["life_cycle_state"]
        if state != last:
            logger.info("Databricks run %s: %s  %s", run_id, state, run["run_page_url"])
            last = state
        if state in FINISHED:
            return run
        await asyncio.sleep(cluster.poll_seconds)
    raise WillNotHeal(
        f"Databricks run {run_id} did not finish in {cluster.timeout_seconds} s and was cancelled. "
        f"Give the block {names.DATABRICKS_CLUSTER} more workers or a longer timeout_seconds."
    )


async def _patiently(
    endpoint: Task[..., Any], credentials: DatabricksCredentials, **arguments: Any
) -> dict[str, Any]:
    """Call one of prefect-databricks' endpoints, again and again while its errors may heal.

    Raises WillNotHeal if the login is refused.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(may_heal),
        wait=wait_random_exponential(multiplier=0.5, max=20),
        stop=stop_after_delay(OUTAGE_SECONDS),
        reraise=True,
    )
    try:
        answer: dict[str, Any] = await retrying(endpoint.fn, databricks_credentials=credentials, **arguments)
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in {401, 403}:
            raise
        raise WillNotHeal(
            f"Databricks at {credentials.databricks_instance} refuses the login ({error.response.status_code}). "
            f"Mend the token or the service principal of the block {names.DATABRICKS}."
        ) from error
    return answer


async def _report(credentials: DatabricksCredentials, run: dict[str, Any], logger: Log) -> None:
    """Bring what the job printed, and the trace of its error, into the log of the flow.

    Raises WillNotHeal with the job's own error, which only get-output tells, if it did not succeed.
    """
    for part in run.get("tasks") or [run]:
        output = await _patiently(jobs_runs_get_output, credentials, run_id=part["run_id"])
        for line in (output.get("logs") or "").splitlines()[-LOG_LINES:]:
            logger.info("spark: %s", line)
        if part["state"].get("result_state") != "SUCCESS":
            if output.get("error_trace"):
                logger.error("spark: %s", output["error_trace"])
            reason = (
                output.get("error") or part["state"].get("state_message") or part["state"]["life_cycle_state"]
            )
            raise WillNotHeal(f"The Spark job failed: {reason}  See {run['run_page_url']}")


def submission_for(
    batch_id: str, code: str, order: str, cluster: DatabricksCluster, batch_bytes: int
) -> dict[str, Any]:
    """Compose the `runs/submit` call of a batch whose files have so many bytes."""
    return {
        "run_name": f"sales-batch {batch_id}",
        "idempotency_token": batch_id,
        "timeout_seconds": cluster.timeout_seconds,
        "tasks": [
            {
                "task_key": "sales_batch",
                "new_cluster": cluster.new_cluster(batch_bytes),
                "libraries": cluster.libraries,
                "spark_python_task": {"python_file": code, "parameters": ["--spec", order]},
            }
        ],
    }


@task(name="run Spark batch", **RETRY)
def run_spark_batch(feed_name: str, files: list[LandedFile]) -> dict[str, Any]:
    """Clean a batch of landed files with Spark; return the job's metrics, counts per file included.

    A batch that is finished already (its metrics are there) is not run again.
    """
    logger = get_run_logger()
    raw, processed = load_storage(names.RAW_STORAGE), load_storage(names.PROCESSED_STORAGE)
    batch_id = batch_id_of(feed_name, files)
    if metrics := read_metrics(processed, batch_id):
        logger.info("Batch %s is finished already; Spark is not started.", batch_id)
        return metrics
    inputs = [{"uri": uri(raw, file.path), **asdict(file)} for file in files]
    spec = job_spec(
        load_feed(feed_name), load_contract(), batch_id, inputs, uri(processed, f"sales_batch/{batch_id}")
    )
    code, order = stage_job(processed, batch_id, spec)
    cluster = load_block(DatabricksCluster, names.DATABRICKS_CLUSTER)
    credentials = load_block(DatabricksCredentials, names.DATABRICKS)
    submission = submission_for(batch_id, code, order, cluster, sum(file.size for file in files))
    asyncio.run(run_to_the_end(credentials, cluster, submission, logger))
    metrics = read_metrics(processed, batch_id)
    if metrics is None:
        raise WillNotHeal(
            f"The Spark job of batch {batch_id} succeeded but left no {metrics_path(batch_id)}."
        )
    return metrics
