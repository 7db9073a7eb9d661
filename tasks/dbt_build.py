"""dbt: the project is built by a process of its own, in a group that can be ended as a whole.

A process, because dbt's threads cannot be stopped inside one (PrefectHQ/prefect#23161) and dbt's profile reads
its secrets from the environment. Its nodes are shown in Prefect (`tasks.dbt_nodes`), its results are read from
`run_results.json` and never ignored (`tasks.dbt_faults`), its artifacts are kept (`tasks.dbt_artifacts`).
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run, task_run

from blocks import names
from blocks.errors import MayHeal, SalesError, WillNotHeal, message_may_heal
from blocks.load import load_block
from blocks.settings import PROJECT, process_environment
from blocks.storage import load_storage
from blocks.warehouse import SalesWarehouse
from tasks.dbt_artifacts import count_statuses, keep, page
from tasks.dbt_faults import faults, merged, raise_for, read_results
from tasks.dbt_freshness import STALE, Freshness, RequireFresh, read_freshness, refusal
from tasks.dbt_nodes import node_runs
from tasks.retries import ONCE_PER_RUN

DBT_FOLDER = PROJECT / "dbt"
STOP_GRACE_SECONDS = 10
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
Event = dict[str, Any]
PARSED = "partial_parse.msgpack"
SHOWN = {"LogModelResult", "EndOfRunSummary", "FinishedRunningStats"}


@dataclass(frozen=True)
class DbtResult:
    """What a build did: nodes by status, seconds, the sources' freshness, where its artifacts are kept."""

    statuses: dict[str, int]
    seconds: float
    sources: list[Freshness] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def dbt_environment(warehouse: SalesWarehouse) -> dict[str, str]:
    """Give the variables that dbt's profile reads; secrets are resolved here and go nowhere else."""
    credentials, address = warehouse.credentials, warehouse.address()
    key = credentials.private_key.get_secret_value() if credentials.private_key else b""
    passphrase, password = credentials.private_key_passphrase, credentials.password
    values = {
        "ACCOUNT": credentials.account,
        "USER": credentials.user or "",
        "PASSWORD": password.get_secret_value() if password else "",
        "PRIVATE_KEY": key.decode() if isinstance(key, bytes) else str(key),
        "PRIVATE_KEY_PASSPHRASE": passphrase.get_secret_value() if passphrase else "",
        "ROLE": credentials.role or "",
        "WAREHOUSE": warehouse.warehouse,
        "DATABASE": warehouse.database,
        "HOST": address.get("host", ""),
        "PORT": str(address.get("port", "")),
        "PROTOCOL": address.get("protocol", ""),
    }
    named = {f"SALES_DBT_{name}": value for name, value in values.items() if value}
    return named | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "PYTHONWARNINGS": "ignore"}


def dbt_command(*arguments: str) -> list[str]:
    """Give the command line of dbt for this project, with machine-readable logs."""
    folder = str(DBT_FOLDER)
    return [
        *(
            sys.executable,
            "-m",
            "dbt.cli.main",
            "--log-format",
            "json",
            "--no-use-colors",
            "--no-version-check",
        ),
        *("--log-level-file", "none", *arguments, "--project-dir", folder, "--profiles-dir", folder),
    ]


def run_dbt(
    command: list[str],
    environment: dict[str, str],
    logger: Log,
    listener: Callable[[Event], bool] = lambda _event: False,
) -> int:
    """Run dbt, passing each of its messages on to the log unless the listener takes it; give its exit code.

    Whatever interrupts the wait ends dbt and everything it started.
    """
    process = subprocess.Popen(
        command,
        env=process_environment(environment),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stdout or ():
            event = _event_of(line)
            if event is None:
                logger.info("dbt: %s", line.rstrip())
            elif not listener(event):
                _log(event["info"], logger)
        return process.wait()
    except BaseException:
        _stop(process)
        raise


def _event_of(line: str) -> Event | None:
    with suppress(ValueError, KeyError, TypeError):
        event: Event = json.loads(line)
        return event if event["info"]["name"] and event["data"] is not None else None
    return None


def _log(info: dict[str, str], logger: Log) -> None:
    level = {"error": logger.error, "warn": logger.warning}.get(info["level"], logger.debug)
    shown = logger.info if info["name"] in SHOWN else level
    if info["msg"].strip():
        shown("dbt: %s", info["msg"].strip())


def _stop(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself in the meantime
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@task(name="build models with dbt", **ONCE_PER_RUN)
def build_models(
    full_refresh: bool = False,
    require_fresh: RequireFresh = "any",
    made_of: str = "",  # noqa: ARG001 (part of the answer's name, see ONCE_PER_RUN)
) -> DbtResult:
    """Build and test every model into MARTS_CANDIDATE, unless the sources are too old for it.

    A retry of this task runs what failed and what was skipped for it, and nothing else. Raises MayHeal if time may
    mend every failed node, WillNotHeal naming each failed model or test with the rows that failed; and WillNotHeal
    if too few sources are as fresh as `require_fresh` asks ("all", "any" or "none" of them). `made_of` is the
    fingerprint of what is built from: a run that is run again does not build the same twice.
    """
    target = working_folder(f"{task_run.id}-{flow_run.run_count}")
    try:
        result = _build(target, full_refresh, require_fresh, get_run_logger())
        share_parsed(target)
    except MayHeal:  # the next attempt goes on from what is in the folder
        raise
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    shutil.rmtree(target)
    return result


def _build(target: Path, full_refresh: bool, require_fresh: RequireFresh, logger: Log) -> DbtResult:
    warehouse, earlier = load_block(SalesWarehouse, names.WAREHOUSE), read_results(target)
    code, errors = _run_worker(target, warehouse, bool(earlier), full_refresh, require_fresh, logger)
    later, sources = read_results(target), read_freshness(target)
    results, found = merged(earlier, later), list(faults(later, warehouse))
    kept = _keep(target, logger)
    create_markdown_artifact(page(results, found, sources, kept), key="dbt-build", description="dbt build")
    for source in sources:
        (logger.info if source.status in {"pass", "empty"} else logger.warning)("Source %s", source)
    if code == STALE:
        raise WillNotHeal(refusal(sources, require_fresh))
    raise_for(found)
    if code != 0 or not later:
        raise _not_run(code, errors)
    return DbtResult(count_statuses(results), sum(r["execution_time"] for r in results), sources, kept)


def working_folder(name: str) -> Path:
    """Give dbt's target folder of one try of a run, the same for a task's retries; what was parsed before is in it.

    A folder of its own, because two runs in one would read each other's results.
    """
    folder = Path(tempfile.gettempdir()) / f"sales-dbt-{name}"
    folder.mkdir(exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        if not (folder / PARSED).exists():
            shutil.copyfile(DBT_FOLDER / "target" / PARSED, folder / PARSED)
    return folder


def share_parsed(target: Path) -> None:
    """Leave what dbt parsed in the project's target folder, so that the next run need not parse it all."""
    shared = DBT_FOLDER / "target" / PARSED
    shared.parent.mkdir(exist_ok=True)
    partial = shared.with_name(f".{target.name}.partial")
    shutil.copyfile(target / PARSED, partial)
    partial.replace(shared)


def worker_command(target: Path, retry: bool, full_refresh: bool, require_fresh: RequireFresh) -> list[str]:
    """Give the command line of `tasks.dbt_worker`."""
    flags = [*(["--retry"] if retry else []), *(["--full-refresh"] if full_refresh else [])]
    folders = ["--project", str(DBT_FOLDER), "--target", str(target)]
    order = ["--owner", str(os.getpid()), "--require-fresh", require_fresh]
    return [sys.executable, "-m", "tasks.dbt_worker", *folders, *order, *flags]


def _run_worker(
    target: Path,
    warehouse: SalesWarehouse,
    retry: bool,
    full_refresh: bool,
    require_fresh: RequireFresh,
    logger: Log,
) -> tuple[int, list[str]]:
    """Run the worker, its nodes shown; give its exit code and the errors that are no node's."""
    errors: list[str] = []
    with node_runs(UUID(str(flow_run.id)), target, logger) as tell:

        def listen(event: Event) -> bool:
            if (event["data"].get("node_info") or {}).get("unique_id"):
                tell(event)
                return True
            if event["info"]["level"] == "error":
                errors.append(event["info"]["msg"])
            return False

        command = worker_command(target, retry, full_refresh, require_fresh)
        return run_dbt(command, dbt_environment(warehouse), logger, listen), errors


def _keep(target: Path, logger: Log) -> dict[str, str]:
    try:
        return keep(load_storage(names.PROCESSED_STORAGE), str(flow_run.id), target, task_run.run_count or 1)
    except (SalesError, OSError) as error:  # evidence of the build, not the build
        logger.warning("dbt's artifacts could not be kept: %s", error)
        return {}


def _not_run(code: int, errors: list[str]) -> SalesError:
    reason = " ".join(" ".join(errors).split())[:500]
    if message_may_heal(reason):
        return MayHeal(f"dbt could not begin to build: {reason}")
    return WillNotHeal(
        f"dbt ended with code {code} before it could build: {reason or 'its messages are in the log above.'}"
    )
