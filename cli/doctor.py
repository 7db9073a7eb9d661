"""`sales doctor`: looks at everything a deployment needs, all at once, and says how to mend what is missing."""

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from blocks.errors import SalesError
from blocks.settings import Settings, load_settings
from cli.console import output, prefect_at
from cli.environment import Environment, prepare_for

if TYPE_CHECKING:
    from tasks.findings import Finding

    Check = Callable[[Settings], list[Finding]]

TIMEOUT_SECONDS = 45.0
NOT_CONFIGURED = (
    "Start the embedded stack with `sales up`, or set what .env.example names for a real environment."
)


def doctor(
    env: Environment = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a check may take.")] = TIMEOUT_SECONDS,
) -> None:
    """Check tools, settings, accounts, rights, blocks, connector, work pool and Prefect; fails if one fails.

    Nothing is changed but for a small file that is written to raw and processed storage and removed again.
    """
    embedded = prepare_for(env)
    settings = load_settings(None, env)
    with prefect_at(settings):
        findings = examine(settings, embedded, timeout)
    show(findings, as_json)
    raise typer.Exit(any(finding.status == "fail" for finding in findings))


def examine(settings: Settings, embedded: bool, timeout: float = TIMEOUT_SECONDS) -> "list[Finding]":
    """Make every check side by side, none longer than `timeout` seconds; without settings only what needs none."""
    from tasks.doctor import CHECKS, check_settings, check_tools
    from tasks.findings import Finding

    first = [*check_tools(embedded), *check_settings(settings)]
    if any(finding.status == "fail" for finding in first if finding.check == "settings"):
        advice = NOT_CONFIGURED if not settings.snowflake_account else ""
        rest = "the settings"
        return [*first, Finding("services", "warn", "Not looked at: settings are missing.", rest, advice)]
    return [*first, *_side_by_side(CHECKS, settings, timeout)]


def show(findings: "list[Finding]", as_json: bool) -> None:
    """Print the findings, the way to mend each below it."""
    if as_json:
        output.print_json(json.dumps([finding.as_data() for finding in findings]))
        return
    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table("check", "", "found, and what to do")
    for finding in findings:
        told = escape(f"{finding.value} {finding.advice}".strip())
        colour = colours[finding.status]
        table.add_row(finding.check, f"[{colour}]{finding.status}[/]", told)
    output.print(table)


def _side_by_side(checks: "dict[str, Check]", settings: Settings, timeout: float) -> "list[Finding]":
    from tasks.findings import Finding
    from tasks.side_by_side import within

    found = within(timeout, {name: partial(_made, name, check, settings) for name, check in checks.items()})
    late = f"No answer within {timeout:g} s."
    advice = "Check the address and the network, or give --timeout."
    return [
        finding
        for name in checks
        for finding in found.get(name, [Finding(name, "fail", late, "an answer", advice)])
    ]


def _made(name: str, check: "Check", settings: Settings) -> "list[Finding]":
    from tasks.findings import Finding, failed_check

    try:
        return check(settings)
    except SalesError as error:
        return [failed_check(name, "an answer", error)]
    except Exception as error:  # whatever a client raises is a finding, not the end of the command
        reason = (str(error).splitlines() or [""])[0]
        return [
            Finding(name, "fail", f"{type(error).__name__}: {reason}", "an answer", "Check its settings.")
        ]
