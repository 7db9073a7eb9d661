"""`sales deploy`: an environment is made what the checkout says, step by step; what is so already is left alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from blocks.errors import SalesError, WillNotHeal
from blocks.settings import Settings, chosen_environment, environment_names, load_settings
from cli import doctor, verify
from cli.blocks import FromTerraform
from cli.console import output, prefect_at, say, step
from cli.environment import Environment, prepare_for

if TYPE_CHECKING:
    from cli.deploy_steps import Step
    from tasks.changes import Change

Plan = dict[str, "list[Change]"]
COLOURS = {"create": "green", "update": "yellow", "delete": "red", "run": "cyan", "ensure": "magenta"}


def deploy(
    env: Environment = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before prod is changed.")] = False,
    check: Annotated[bool, typer.Option("--verify/--no-verify", help="Make smoke runs at the end.")] = True,
    revision: Annotated[
        str | None, typer.Option(help="Commit that runs clone; the checkout's own unless told.")
    ] = None,
    from_terraform: FromTerraform = None,
) -> None:
    """Check, migrate, upload the Spark job, apply connector, blocks, pool, deployments, automations, and verify.

    Running it again changes nothing. With --dry-run no credentials and no network are needed: what cannot be
    looked at is shown as to be ensured, with the reason.
    """
    embedded = prepare_for(env)
    if not (embedded or env or chosen_environment()):
        raise WillNotHeal(
            f"Say which environment: --env {' or '.join(environment_names())}, or start `sales up`."
        )
    settings = _settings(env, from_terraform, dry_run)
    with prefect_at(settings):
        from cli.deploy_steps import steps
        from tasks.deployment_file import uncommitted

        if settings.pull != "folder" and revision is None and uncommitted():
            say("The checkout has changes that are not committed: runs clone the last commit, without them.")
        every = steps(settings, revision)
        if dry_run:
            _show(settings, {each.name: _look(each) for each in every} | _smoke(settings, check), as_json)
            return
        _confirm(settings, yes)
        _examine(settings, embedded)
        done = {each.name: _carry_out(each) for each in every}
        if check:
            verify.make_runs(settings, embedded)
            done |= _smoke(settings, check)
        _show(settings, done, as_json)


def _settings(env: str | None, from_terraform: list[Path] | None, dry_run: bool) -> Settings:
    from blocks.secret_lookup import with_secrets
    from blocks.terraform import settings_from_terraform

    settings = load_settings(None, env, settings_from_terraform(from_terraform or []))
    # A plan is to be had without credentials, those of Secrets Manager included.
    return settings if dry_run else with_secrets(settings)


def _look(part: "Step") -> "list[Change]":
    """Plan a step; where nobody can look, name what it is about."""
    from tasks.changes import Change

    try:
        return part.plan()
    except Exception as error:  # no credentials, no network, no server: the plan is shown all the same
        reason = error.what if isinstance(error, SalesError) else f"{type(error).__name__}: {error}"
        reason = f"Not looked at: {reason.splitlines()[0]}"
        return [
            Change(what, "ensure", "" if number else reason) for number, what in enumerate(part.declared())
        ]


def _carry_out(part: "Step") -> "list[Change]":
    from tasks.changes import needed

    with step(part.name):
        changes = part.plan()
        if needed(changes):
            part.apply()
    for change in needed(changes):
        say(f"{change.action} {change.what} {change.detail}".rstrip())
    return changes


def _confirm(settings: Settings, yes: bool) -> None:
    if settings.environment == "prod" and not yes:
        typer.confirm(f"Deploy to prod ({settings.snowflake_account or 'no account'})?", abort=True, err=True)


def _examine(settings: Settings, embedded: bool) -> None:
    """Look at everything first. Raises WillNotHeal, before anything is changed, if a check fails."""
    with step("checks made"):
        findings = doctor.examine(settings, embedded)
    if failed := [finding for finding in findings if finding.status == "fail"]:
        told = "; ".join(f"{finding.check}: {finding.value} {finding.advice}".strip() for finding in failed)
        raise WillNotHeal(f"Nothing was changed, because of what `sales doctor` finds: {told}")


def _smoke(settings: Settings, check: bool) -> Plan:
    from tasks.changes import Change

    return {"smoke runs": [Change(n, "run") for n in verify.smoke_runs(settings)] if check else []}


def _show(settings: Settings, plan: Plan, as_json: bool) -> None:
    if as_json:
        rows: list[dict[str, Any]] = [
            {"step": name, "changes": [vars(change) for change in changes]} for name, changes in plan.items()
        ]
        output.print_json(json.dumps({"environment": settings.environment, "steps": rows}))
        return
    table = Table("step", "what", "change", "", title=f"Deployment to {settings.environment}")
    for name, changes in plan.items():
        for number, change in enumerate(changes):
            colour = COLOURS.get(change.action, "dim")
            table.add_row(
                name if number == 0 else "",
                escape(change.what),
                f"[{colour}]{change.action}[/]",
                escape(change.detail),
            )
        table.add_section()
    output.print(table)
