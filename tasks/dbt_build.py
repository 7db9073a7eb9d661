"""dbt: the project is built by dbt's own command in a process group that can be ended as a whole.

A process, not prefect-dbt's runner: the runner took two to three times as long here (31–36 s against
12–14 s), and dbt's threads cannot be stopped inside a process (PrefectHQ/prefect#23161). The results are
read from `run_results.json` and never ignored.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task

from blocks import names
from blocks.errors import WillNotHeal
from blocks.load import load_block
from blocks.settings import PROJECT, process_environment
from blocks.warehouse import SalesWarehouse
from tasks.retries import RETRY

DBT_FOLDER = PROJECT / "dbt"
STOP_GRACE_SECONDS = 10
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
BAD = frozenset({"error", "fail", "runtime error"})


@dataclass(frozen=True)
class DbtResult:
    """What a dbt command did: nodes by status, and seconds."""

    statuses: dict[str, int]
    seconds: float


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


def run_dbt(command: list[str], environment: dict[str, str], logger: Log) -> int:
    """Run dbt, passing each of its messages on to the log; give its exit code.

    Whatever interrupts the wait ends dbt and everything it started.
    """
    process = subprocess.Popen(
        command,
        env=process_environment(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stdout or ():
            _log(line, logger)
        return process.wait()
    except BaseException:
        _stop(process)
        raise


def _log(line: str, logger: Log) -> None:
    try:
        info = json.loads(line)["info"]
    except (ValueError, KeyError, TypeError):
        logger.info("dbt: %s", line.rstrip())
        return
    level = {"error": logger.error, "warn": logger.warning}.get(info["level"], logger.debug)
    shown = (
        logger.info
        if info["name"] in {"LogModelResult", "EndOfRunSummary", "FinishedRunningStats"}
        else level
    )
    if info["msg"].strip():
        shown("dbt: %s", info["msg"].strip())


def _stop(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself in the meantime
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def read_results(target: Path) -> list[dict[str, Any]]:
    """Read the nodes' results of the last command; none if it ended before it ran any."""
    path = target / "run_results.json"
    return json.loads(path.read_text())["results"] if path.exists() else []


def faults(results: list[dict[str, Any]]) -> Iterator[str]:
    """Say, for each failed node, which one, how many rows failed, and dbt's reason."""
    for result in results:
        if result["status"] in BAD:
            rows = f", {result['failures']} rows" if result.get("failures") else ""
            reason = " ".join((result.get("message") or "").split())
            yield f"{result['unique_id'].split('.')[2]} ({result['status']}{rows}): {reason[:300]}"


@task(name="build models with dbt", **RETRY)
def build_models(full_refresh: bool = False) -> DbtResult:
    """Build and test every model into MARTS_CANDIDATE. Raises WillNotHeal naming each failed model or test."""
    logger = get_run_logger()
    arguments = [
        "build",
        "--exclude-resource-type",
        "unit_test",
        *(["--full-refresh"] if full_refresh else []),
    ]
    target = DBT_FOLDER / "target"
    (target / "run_results.json").unlink(missing_ok=True)
    code = run_dbt(
        dbt_command(*arguments), dbt_environment(load_block(SalesWarehouse, names.WAREHOUSE)), logger
    )
    results = read_results(target)
    if bad := list(faults(results)):
        raise WillNotHeal("dbt found faults, the marts stay as they were:\n  " + "\n  ".join(bad))
    if code != 0 or not results:
        raise WillNotHeal(
            f"dbt ended with code {code} before it could build; its messages are in the log above."
        )
    statuses: dict[str, int] = {}
    for result in results:
        statuses[result["status"]] = statuses.get(result["status"], 0) + 1
    return DbtResult(statuses, sum(result["execution_time"] for result in results))
