"""`sales quarantine`: what was rejected and why, and the way out once a rule or a feed is mended."""

import csv
import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from blocks.settings import load_stack_settings
from cli.console import (
    output,
    prefect_at,
    prepare_prefect,
    print_rows,
    say,
    settings_or_fail,
    step,
    warehouse_in_use,
)

app = typer.Typer(no_args_is_help=True, help="Rejected rows of batch files: list, show, export, replay.")

EXPORTED = ("feed", "file_name", "file_line", "rule_ids", "reason", "raw_line", "batch_id", "loaded_at")
Feed = Annotated[str | None, typer.Option("--feed", help="Only rows of this feed.")]
Rule = Annotated[str | None, typer.Option("--rule", help="Only rows that broke this rule.")]
File = Annotated[str | None, typer.Option("--file", help="Only rows of this file.")]
Since = Annotated[datetime | None, typer.Option("--since", help="Only rows loaded since then, UTC.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.command("list")
def list_rejects(
    feed: Feed = None, rule: Rule = None, file: File = None, since: Since = None, as_json: Json = False
) -> None:
    """Count the rejected rows by feed, rule and file; a row that broke two rules counts under both."""
    warehouse = warehouse_in_use()
    from tasks.quarantine import Selection, count_rejects

    counts = [asdict(count) for count in count_rejects(warehouse, Selection(feed, rule, file, since))]
    if as_json:
        output.print_json(json.dumps(counts))
        return
    print_rows(counts, "Nothing is quarantined.")


@app.command()
def show(
    feed: Feed = None,
    rule: Rule = None,
    file: File = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")] = 20,
    as_json: Json = False,
) -> None:
    """Show rejected rows as they came, each with its file, its line and the rules it broke."""
    warehouse = warehouse_in_use()
    from tasks.quarantine import Selection, read_rejects

    rows = list(read_rejects(warehouse, Selection(feed, rule, file, since), limit))
    if as_json:
        output.print_json(json.dumps(rows, default=str))
        return
    shown = ("file_name", "file_line", "rule_ids", "raw_line")
    print_rows([{name: row[name] for name in shown} for row in rows], "No row matches.")


@app.command()
def export(
    feed: Feed = None,
    rule: Rule = None,
    file: File = None,
    since: Since = None,
    target: Annotated[
        Path | None, typer.Option("--output", help="CSV file to write; standard output without it.")
    ] = None,
) -> None:
    """Write rejected rows as CSV, each with its reason in words, for whoever is to mend them."""
    warehouse = warehouse_in_use()
    from tasks.quarantine import Selection, read_rejects

    written = 0
    with target.open("w", newline="", encoding="utf-8") if target else nullcontext(sys.stdout) as stream:
        writer = csv.DictWriter(stream, EXPORTED)
        writer.writeheader()
        for row in read_rejects(warehouse, Selection(feed, rule, file, since)):
            writer.writerow({name: row[name] for name in EXPORTED})
            written += 1
    say(f"{written:,} rows written to {target or 'standard output'}")


@app.command()
def replay(
    feed: Annotated[str, typer.Option("--feed", help="The feed that was mended.")],
    rule: Rule = None,
    file: File = None,
    since: Since = None,
    as_json: Json = False,
) -> None:
    """Judge the batches of these rows again, by the rules as they are now, and bring the marts up to date."""
    home = load_stack_settings().home
    prepare_prefect(home)
    with prefect_at(settings_or_fail()):
        from flows.replay_quarantine import replay_quarantine

        with step("replay-quarantine"):
            summary = replay_quarantine(feed, rule, file, since)
    if as_json:
        output.print_json(json.dumps(summary))
        return
    print_rows(summary["replayed"], "No batch was judged by other rules than today's: nothing to replay.")
