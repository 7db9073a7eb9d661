"""`sales up`, `sales down`, `sales status`: the embedded stack in the background."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.table import Table

from blocks.errors import WillNotHeal
from blocks.settings import (
    PROJECT,
    Settings,
    StackSettings,
    embedded_settings_file,
    load_settings,
    load_stack_settings,
)
from cli.console import output, prefect_at, prepare_prefect, progress, say, step
from local.service import ready_file
from local.stack import owner, services, sweep


def up() -> None:
    """Start the embedded stack in the background and prepare it: warehouse, blocks, connector."""
    where = load_stack_settings()
    home = where.home.resolve()
    if embedded_settings_file(home).exists() and (pid := owner(home)):
        say(f"The stack is up already (process {pid}).")
    else:
        with step("embedded stack started"):
            _start_in_background(where)
    prepare_prefect(home, embedded=True)
    settings = load_settings(home)
    with prefect_at(settings):
        prepare(settings)
    status()
    output.print(f"\nTo use it from a shell of your own: export PREFECT_API_URL={settings.prefect_api_url}")


def down() -> None:
    """Stop the embedded stack; its data stays for the next start."""
    home = load_stack_settings().home.resolve()
    pid = owner(home)
    if pid is None:
        sweep(home)
        embedded_settings_file(home).unlink(missing_ok=True)
        output.print("The stack is not running.")
        return
    with step("embedded stack stopped"):
        os.kill(pid, signal.SIGTERM)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
        sweep(home)
        embedded_settings_file(home).unlink(missing_ok=True)


def status(as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Show the embedded stack's services: whether they run, where, and their logs."""
    home = load_stack_settings().home.resolve()
    rows = [service_status(home, service.name) for service in services(home)]
    if as_json:
        output.print_json(json.dumps({"home": str(home), "owner": owner(home), "services": rows}))
        return
    table = Table("service", "state", "address", "process", "log", title=f"Embedded stack in {home}")
    for row in rows:
        table.add_row(*(str(row[key] or "") for key in ("service", "state", "address", "pid", "log")))
    output.print(table)


def service_status(home: Path, name: str) -> dict[str, str | int | None]:
    """Give one service's state (running or stopped), address, process and log file."""
    log = home / "logs" / f"{name}.log"
    try:
        facts = json.loads(ready_file(home / name).read_text())
        alive = f"local.{name}" in psutil.Process(facts["pid"]).cmdline()
    except (OSError, ValueError, psutil.Error):
        facts, alive = {}, False
    return {
        "service": name,
        "state": "running" if alive else "stopped",
        "address": (facts.get("url") or facts.get("bootstrap")) if alive else None,
        "pid": facts["pid"] if alive else None,
        "log": str(log),
    }


def prepare(settings: Settings) -> None:
    """Bring warehouse, blocks and connector to the state the flows expect; changes nothing the second time."""
    from cli.blocks import register_blocks
    from cli.connector import apply_connector
    from cli.warehouse import migrate_warehouse

    migrate_warehouse(settings)
    register_blocks(settings)
    apply_connector(settings)


def _start_in_background(where: StackSettings) -> None:
    home = where.home.resolve()
    (home / "logs").mkdir(parents=True, exist_ok=True)
    embedded_settings_file(home).unlink(
        missing_ok=True
    )  # a killed stack's: what we wait for is the new one's
    log = home / "logs" / "stack.log"
    with log.open("wb") as file:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "local.stack"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=PROJECT,
            env={**os.environ, "SALES_HOME": str(home)},
            start_new_session=True,
        )
    shown = 0
    while not embedded_settings_file(home).exists():
        lines = log.read_text().splitlines()
        for line in lines[shown:]:
            progress.print(f"  [dim]{line}[/]")
        shown = len(lines)
        if keeper.poll() is not None:
            reason = next(
                (line for line in reversed(lines) if "WillNotHeal" in line), lines[-1] if lines else ""
            )
            raise WillNotHeal(
                reason.partition("WillNotHeal: ")[2] or f"The stack did not start: {reason} See {log}."
            )
        time.sleep(0.1)
