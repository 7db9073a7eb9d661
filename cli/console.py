"""How the command line speaks: progress and errors on standard error, results on standard output."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from blocks.errors import WillNotHeal
from blocks.settings import Settings, is_embedded, load_settings, load_stack_settings

if TYPE_CHECKING:
    from blocks.warehouse import SalesWarehouse

progress = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False)
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


@dataclass
class Options:
    """What was said before the verb."""

    debug: bool = False


options = Options()


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong and end."""
    progress.print(f"[bold red]✗[/] {_plain(message)}")
    sys.exit(code)


def say(message: str) -> None:
    """Report progress in one line."""
    progress.print(f"[cyan]›[/] {_plain(message)}")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Report a step when it is done, with its seconds."""
    began = time.monotonic()
    yield
    progress.print(f"[green]✓[/] {_plain(title)} [dim]{time.monotonic() - began:.1f} s[/]")


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def prepare_prefect(home: Path, embedded: bool | None = None) -> None:
    """Settle, before Prefect is first imported, what it reads once: its home and its manner of logging.

    Against the embedded stack (unless told, the one that is up under `home`) Prefect's home is in the stack's;
    elsewhere it is the user's own, where `prefect cloud login` keeps its profile.
    """
    defaults = {
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "1",
    }
    if embedded if embedded is not None else is_embedded(home.resolve()):
        defaults["PREFECT_HOME"] = str(home.resolve() / "prefect_client")
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_at(settings: Settings) -> Iterator[None]:
    """Point Prefect at the settings' server and show what runs say, for the time of the `with`."""
    import prefect.main  # noqa: F401  (sets up logging, which would undo what follows)
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    chosen = {PREFECT_API_URL: settings.prefect_api_url} if settings.prefect_api_url else {}
    handler = _RunLog()
    # The heartbeat's thread costs a second at the end of every short run, and nobody watches for zombies here.
    with temporary_settings(chosen | {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        for name in RUN_LOGGERS:
            logging.getLogger(name).addHandler(handler)
        try:
            yield
        finally:
            for name in RUN_LOGGERS:
                logging.getLogger(name).removeHandler(handler)
            _send_what_is_queued()


def _send_what_is_queued() -> None:
    """Let logs and events reach the server while it is there; at exit, with it gone, they wait a minute in vain."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    EventsWorker.drain_all(timeout=5)


class _RunLog(logging.Handler):
    """Shows the log lines of flow and task runs as they come."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.INFO or record.exc_info or record.module.endswith("engine"):
            return
        colour = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, "dim")
        progress.print(f"  [{colour}]{_plain(record.getMessage())}[/]")


def settings_or_fail(environment: str | None = None, values: dict[str, Any] | None = None) -> Settings:
    """Give the settings of the running stack or of the environment; both arguments are those of `load_settings`."""
    from local.stack import forget_if_dead

    forget_if_dead(load_stack_settings().home.resolve())
    settings = load_settings(None, environment, values)
    if not settings.snowflake_account:
        raise WillNotHeal(
            "No environment is configured. Start the embedded one with `sales up`, or set SALES_… "
            "(see .env.example) for a real one."
        )
    return settings


def warehouse_in_use() -> "SalesWarehouse":
    """Settle what Prefect reads at import, and give the warehouse of the running stack or of the environment."""
    prepare_prefect(load_stack_settings().home)
    from blocks.register import warehouse_from

    return warehouse_from(settings_or_fail())


def print_rows(rows: list[dict[str, Any]], otherwise: str) -> None:
    """Print rows as a table, headed by the first one's keys; without rows print the sentence instead."""
    if not rows:
        output.print(otherwise)
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    output.print(table)
