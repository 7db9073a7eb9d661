"""`sales validations`: what the checks found, run by run and over time, and the way past one that is wrong."""

import json
from typing import Annotated, Any

import typer

from blocks.settings import load_stack_settings
from cli.console import output, print_rows, say, warehouse_in_use

app = typer.Typer(no_args_is_help=True, help="What the checks found: list, show, trend, docs, accept.")

Run = Annotated[str | None, typer.Argument(help="The run's id; the newest run unless told.")]
Check = Annotated[str, typer.Argument(help="The check as `show` names it: TABLE.check_id.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest judgements, one per run and layer: how many checks, how many stop, how many warn."""
    warehouse = warehouse_in_use()
    from tasks.validation_results import read_runs

    _print(read_runs(warehouse, limit), as_json, "No run has judged anything yet.")


@app.command()
def show(
    run_id: Run = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what passed.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a run's checks found: what failed, of which rows, with the keys of some of them."""
    warehouse = warehouse_in_use()
    from tasks.validation_results import keys_in_words, read_run

    results = read_run(warehouse, run_id)
    chosen = [row for row in results if everything or not row["success"]]
    if not as_json:
        say(
            f"run {results[0]['run_id']}: {len(results)} checks, {sum(not r['success'] for r in results)} failed"
        )
        chosen = [
            {
                "check": f"{row['table_name']}.{row['check_id']}",
                "of": " ".join(part for part in (row["series"], row["subject"]) if part),
                "severity": row["severity"],
                "passed": "yes" if row["success"] else "no",
                "failing rows": _count(row["unexpected_count"], row["rows_judged"]),
                "seen": row["observed"] or "",
                "keys": "\n".join(keys_in_words(key) for key in row["sample_keys"]),
            }
            for row in chosen
        ]
    _print(chosen, as_json, "Every check passed.")


@app.command()
def trend(
    check: Check,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many values at most.")] = 30,
    as_json: Json = False,
) -> None:
    """Show what one check saw over time, the newest first."""
    warehouse = warehouse_in_use()
    from tasks.validation_results import read_trend

    table, _, check_id = check.partition(".")
    rows = read_trend(warehouse, table, check_id, limit)
    if not as_json:
        rows = [
            {
                "judged at": f"{row['judged_at']:%Y-%m-%d %H:%M}",
                "of": " ".join(part for part in (row["series"], row["subject"]) if part),
                "value": "" if row["observed_value"] is None else f"{float(row['observed_value']):,.6g}",
                "failing rows": _count(row["unexpected_count"], row["rows_judged"]),
                "passed": "yes" if row["success"] else "no",
            }
            for row in rows
        ]
    _print(rows, as_json, "")


@app.command()
def docs(run_id: Run = None) -> None:
    """Render a run's results as Great Expectations' Data Docs, into data_docs of the build folder."""
    warehouse = warehouse_in_use()
    from tasks.data_docs import build_data_docs
    from tasks.validation_results import read_run

    index = build_data_docs(read_run(warehouse, run_id), load_stack_settings().build.resolve() / "data_docs")
    output.print(f"Data Docs: {index}", soft_wrap=True)


@app.command()
def accept(
    check: Check,
    series: Annotated[str, typer.Argument(help="The source of what is unusual.")],
    subject: Annotated[str, typer.Argument(help="The batch or the day that is unusual.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it is right as it is.")],
) -> None:
    """Let one unusual batch or day pass from now on, and count it as history; the next run publishes."""
    from tasks.validation_results import accept as note

    note(warehouse_in_use(), check, series, subject, reason)
    say(f"{check} lets {series} {subject} pass: {reason}")


def _count(unexpected: Any, judged: Any) -> str:
    of_all = "" if judged is None else f" of {int(judged):,}"
    return "" if unexpected is None else f"{int(unexpected):,}{of_all}"


def _print(rows: list[dict[str, Any]], as_json: bool, otherwise: str) -> None:
    if as_json:
        output.print_json(json.dumps(rows, default=str))
        return
    print_rows(rows, otherwise)
