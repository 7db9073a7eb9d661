"""`sales feeds`: which CSV feeds there are, what each declares, if it is right, and drafts of new ones."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.errors import WillNotHeal
from cli.console import output, say

if TYPE_CHECKING:
    from blocks.feeds import Feed

app = typer.Typer(no_args_is_help=True, help="CSV feeds: one YAML file each in spark_jobs/sources/.")

DECLARATION = ".yml"


@app.command("list")
def list_feeds() -> None:
    """Name every feed."""
    from blocks.feeds import feed_names

    output.print("\n".join(feed_names()))


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of the feed, or a .yml file.")]) -> None:
    """Show one feed as the pipeline reads it: every key, the defaults too, checked against the contract.

    file_columns are those that its files must have; key is what numbers its lines, if their content does.
    """
    feed = _read(name)
    told = feed.model_dump(mode="json") | {
        "derived": {c: how.model_dump(mode="json", exclude_defaults=True) for c, how in feed.derived.items()},
        "key": feed.key_columns if feed.line_number == "content" else (),
        "file_columns": feed.file_columns,
    }
    output.print_json(json.dumps(told))


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of feeds, or .yml files; every feed if none is given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check feeds against the contract of the sales line; ends with 1 if one is wrong."""
    from blocks.feeds import WrongDeclaration, feed_names, load_contract

    load_contract()  # if that is wrong, it is no feed's fault
    problems: dict[str, list[str]] = {}
    for name in names or feed_names():
        try:
            _read(name)
            problems[name] = []
        except WrongDeclaration as wrong:
            problems[name] = [f"{wrong.path}: {problem}" for problem in wrong.problems]
    if as_json:
        told = [{"feed": name, "ok": not found, "problems": found} for name, found in problems.items()]
        output.print_json(json.dumps(told))
    else:
        for name, found in problems.items():
            typer.echo("\n".join(found) or f"{name}: ok")
    if any(problems.values()):
        raise typer.Exit(1)


@app.command()
def infer(
    file: Annotated[Path, typer.Argument(help="A CSV file, plain, .gz or .zip with one member.")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the feed; that of --output, else of FILE, without it."),
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--output", help="YAML file to write; standard output without it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --output if it exists.")] = False,
) -> None:
    """Draft the YAML of a new feed from a sample of its files; what is left to do is marked TODO."""
    from blocks.feed_draft import draft_feed, name_from
    from blocks.feeds import load_contract

    if target and target.suffix != DECLARATION:
        raise WillNotHeal(f"--output {target} does not end with {DECLARATION}, as the file of a feed does.")
    if target and target.exists() and not force:
        raise WillNotHeal(f"{target} exists; give another --output, or --force to overwrite it.")
    draft = draft_feed(file, name or (target.stem if target else name_from(file)), load_contract())
    if target is None:
        typer.echo(draft, nl=False)
    else:
        _write(target, draft)
    where = target or "standard output"
    say(
        f"Draft written to {where}, {draft.count('# TODO')} TODO in it. Then: sales feeds check {target or 'FILE.yml'}"
    )


def _read(name: str) -> "Feed":
    """Read a feed by its name, or from the file that is named."""
    from blocks.feeds import load_feed, read_feed

    return read_feed(Path(name)) if Path(name).suffix == DECLARATION else load_feed(name)


def _write(target: Path, text: str) -> None:
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WillNotHeal(f"{target} cannot be written: {error.strerror}.") from error
