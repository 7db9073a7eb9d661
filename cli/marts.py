"""`sales marts`: what readers see, what a candidate would change, the way back, and the switch that pauses it."""

import getpass
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from blocks.errors import WillNotHeal
from blocks.settings import load_stack_settings
from cli.console import output, prefect_at, prepare_prefect, say, settings_or_fail, warehouse_in_use

if TYPE_CHECKING:
    from tasks.mart_diff import TableDiff
    from tasks.publications import Publication

app = typer.Typer(no_args_is_help=True, help="The published marts: list, diff, roll back, pause.")
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.command("list")
def list_publications(
    as_json: Json = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, the newest first.")] = 20,
) -> None:
    """Show what was published and rolled back, which of it can be gone back to, and what readers see."""
    warehouse = warehouse_in_use()
    from tasks.publications import history, kept

    there, rows = kept(warehouse), history(warehouse)
    shown = [_told(row, there, row is rows[0]) for row in rows[:limit]]
    if as_json:
        output.print_json(json.dumps(shown))
        return
    if not shown:
        output.print("Nothing has been published yet.")
        return
    table = Table()
    for column in ("publication", "what", "shows", "rows", "made by run", "by", ""):
        table.add_column(column, no_wrap=column in ("publication", "shows"), overflow="fold")
    for row in shown:
        table.add_row(
            row["publication_id"],
            row["kind"],
            row["content_id"],
            f"{row['rows']:,}",
            row["run_id"],
            escape(str(row["published_by"])),
            "current" if row["is_current"] else "kept" if row["is_kept"] else "",
        )
    output.print(table)


@app.command()
def diff(
    table: Annotated[str | None, typer.Option("--table", help="Only this table.")] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="A kept publication to compare with, instead of the current."),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=0, help="How many days at most, the newest.")] = 31,
    as_json: Json = False,
) -> None:
    """Show what publishing the candidates would change: rows by key, and the totals of days that differ."""
    warehouse = warehouse_in_use()
    from tasks.mart_diff import diff_schemas
    from tasks.publications import PREFIX, kept

    if against and against not in kept(warehouse):
        raise WillNotHeal(f"There is no publication {against} to compare with: see `sales marts list`.")
    before = PREFIX + against if against else "MARTS"
    _print_diff(diff_schemas(warehouse, before, "MARTS_CANDIDATE", table, days), as_json)


@app.command()
def rollback(
    to: Annotated[
        str | None, typer.Option("--to", help="Publication to go back to; else the one before.")
    ] = None,
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Show readers an earlier publication again; says first what that changes.

    What was taken back is not published again until data, models or checks change, or a run is told to rebuild.
    """
    warehouse = warehouse_in_use()
    from tasks.mart_diff import diff_schemas
    from tasks.publications import PREFIX, finish_interrupted, history, roll_back, target_of_rollback

    finish_interrupted(warehouse)
    target = target_of_rollback(warehouse, to)
    if target is None:
        say(f"Readers see {history(warehouse)[0].content_id} already. To go further back: --to PUBLICATION.")
        return
    say(f"back to publication {target.content_id} of {target.published_at:%Y-%m-%d %H:%M} UTC:")
    _print_diff(diff_schemas(warehouse, "MARTS", PREFIX + target.content_id), as_json=False)
    if not is_sure:
        typer.confirm("Show readers these tables?", abort=True, err=True)
    done = roll_back(warehouse, target, getpass.getuser())
    say(
        f"readers see {done.content_id}; what was taken back is not published again until data, models or checks "
        "change, or a run is told to rebuild"
    )


@app.command()
def pause(
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who see the summary.")] = "",
) -> None:
    """Let runs build and check, and show readers nothing new until `sales marts resume`."""
    prepare_prefect(load_stack_settings().home)
    with prefect_at(settings_or_fail()):
        from tasks.publishing_switch import pause as set_switch
        from tasks.publishing_switch import why_paused

        set_switch(getpass.getuser(), reason)
        say(why_paused())


@app.command()
def resume() -> None:
    """Let the next run publish again."""
    prepare_prefect(load_stack_settings().home)
    with prefect_at(settings_or_fail()):
        from tasks.publishing_switch import resume as take_away

        was_paused = take_away()
    say("the next run publishes again" if was_paused else "publishing was not paused")


def _told(row: "Publication", there: list[str], is_current: bool) -> dict[str, Any]:
    told = asdict(row) | {
        "rows": sum(table["rows"] for table in row.tables.values()),
        "is_current": is_current,
        "is_kept": row.content_id in there,
    }
    plain: dict[str, Any] = json.loads(json.dumps(told, default=str))
    return plain


def _print_diff(found: list["TableDiff"], as_json: bool) -> None:
    if as_json:
        output.print_json(json.dumps([asdict(one) for one in found], default=str))
        return
    table = Table("table", "", "rows before", "rows after", "added", "removed", "changed", "columns")
    for one in found:
        columns = [f"+{c}" for c in one.columns_added] + [f"-{c}" for c in one.columns_removed]
        numbers = (one.rows_before, one.rows_after, one.added, one.removed, one.changed)
        table.add_row(one.table, one.status, *(f"{number:,}" for number in numbers), " ".join(columns))
    output.print(table)
    for one in found:
        if one.days:
            days = Table("day", "EUR before", "EUR after", title=f"{one.table}: totals by day")
            for day in one.days:
                days.add_row(str(day.day), str(day.before), str(day.after))
            output.print(days)
