"""`sales backfill`: judge a range of loaded batches again by today's rules; shows the plan unless told to do it."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from blocks.errors import WillNotHeal
from blocks.settings import load_stack_settings
from cli.console import output, prefect_at, prepare_prefect, say, settings_or_fail, step

DAY = ["%Y-%m-%d"]


def backfill(
    feed: Annotated[str | None, typer.Option("--feed", help="Whose batches.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=DAY, help="First day of landing, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=DAY, help="Last day of landing, UTC.")
    ] = None,
    batch: Annotated[
        list[str] | None, typer.Option("--batch", help="Only this batch; may be given again.")
    ] = None,
    chunk_size: Annotated[
        int, typer.Option("--chunk-size", min=1, max=1000, help="Batches in a chunk.")
    ] = 10,
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=16, help="Spark runs at once.")] = 2,
    is_meant: Annotated[bool, typer.Option("--apply", help="Do it; without, the plan is shown.")] = False,
    given_up: Annotated[
        str | None,
        typer.Option("--abandon", help="Give up this unfinished backfill, so that runs publish again."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Reprocess what was judged under other rules than today's; shows files, rows, time and cost, unless --apply."""
    settings_home = load_stack_settings().home
    prepare_prefect(settings_home)
    if given_up:
        _abandon(given_up)
        return
    if not feed:
        raise WillNotHeal("Say whose batches: --feed NAME.")
    with prefect_at(settings_or_fail()):
        from flows.backfill_sales import backfill_sales

        with step("backfill-sales"):
            done = backfill_sales(
                feed,
                since.date() if since else None,
                until.date() if until else None,
                batch or None,
                chunk_size,
                parallel,
                dry_run=not is_meant,
            )
    if as_json:
        output.print_json(json.dumps(done))
        return
    _print_plan(done["plan"])
    if not is_meant and done["plan"]["chunks"]:
        say("nothing was done; add --apply")


def _abandon(backfill_id: str) -> None:
    from blocks.register import warehouse_from
    from tasks.backfill import abandon

    chunks = abandon(warehouse_from(settings_or_fail()), backfill_id)
    if not chunks:
        raise WillNotHeal(f"There is no unfinished backfill {backfill_id}.")
    say(f"given up, {chunks} chunks of it not done; the next run publishes what is loaded")


def _print_plan(plan: dict[str, Any]) -> None:
    output.print(f"{plan['unchanged_batches']} batches are judged by today's rules already.")
    if not plan["chunks"]:
        output.print("There is nothing to backfill.")
        return
    head = ("chunk", "batches", "files", "bytes", "rows", "seconds", "dbu", "cost")
    table = Table(*head, title=f"Backfill {plan['backfill_id']} of {plan['feed']}")
    for line in [*plan["chunks"], plan["total"] | {"chunk": "all"}]:
        table.add_row(*("?" if line[name] is None else str(line[name]) for name in head))
    output.print(table)
    output.print(
        f"Seconds from {plan['estimated_from']}; cost in {plan['currency']}, the machines' own price not included."
    )
