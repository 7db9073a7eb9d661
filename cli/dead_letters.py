"""`sales connector dlq`: what could not be taken in from the stream and why, and the way back for it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from blocks.errors import WillNotHeal
from blocks.settings import load_stack_settings
from cli.console import output, prepare_prefect, say, settings_or_fail

if TYPE_CHECKING:
    from blocks.kafka import KafkaCluster
    from blocks.warehouse import SalesWarehouse
    from tasks.dead_letters import Letter, LetterGroup, Selection
    from tasks.letter_replays import ReplayReport

app = typer.Typer(no_args_is_help=True, help="Dead letters of the stream: show, mend, replay once.")

VALUE_SHOWN = 300
Reason = Annotated[str | None, typer.Option("--reason", help="Only letters whose reason contains this.")]
Source = Annotated[str | None, typer.Option("--source", help="Only letters of this source.")]
Partition = Annotated[
    int | None, typer.Option("--partition", help="Only this partition of the dead letters.")
]
Offsets = Annotated[
    str | None,
    typer.Option("--offsets", metavar="FIRST:LAST", help="Only these offsets; either may be left out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.command()
def show(
    reason: Reason = None,
    source: Source = None,
    partition: Partition = None,
    offsets: Offsets = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Examples of each kind.")] = 1,
    as_json: Json = False,
) -> None:
    """Count the dead letters by reason and source, with the oldest, the newest and examples of each kind."""
    warehouse, cluster = _systems()
    from tasks.dead_letters import group_letters, read_letters
    from tasks.letter_replays import replayed_letters

    letters = read_letters(cluster, _selection(reason, source, partition, offsets))
    groups = group_letters(letters, replayed_letters(warehouse), limit)
    if as_json:
        output.print_json(json.dumps([_told(group) for group in groups]))
        return
    _print_groups(groups)


@app.command()
def replay(
    reason: Reason = None,
    source: Source = None,
    partition: Partition = None,
    offsets: Offsets = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Send the letters as they are, where valid now.")
    ] = False,
    edit: Annotated[
        Path | None, typer.Option("--edit", help="Write the letters to this file, a line each, to be mended.")
    ] = None,
    mended: Annotated[
        Path | None,
        typer.Option("--from", exists=True, dir_okay=False, help="Send the mended lines of this file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Send dead letters to the topic again, each once: as they are, or mended in a file in between.

    `--edit letters.jsonl` writes them, one JSON object a line; correct `event` (or `text`, where it was no JSON) and
    delete the lines to be left out; `--from letters.jsonl` sends them. Running it again sends nothing twice.
    """
    if [as_is, edit is not None, mended is not None].count(True) != 1:
        raise WillNotHeal("Say one of --as-is, --edit FILE and --from FILE.")
    selection = _selection(reason, source, partition, offsets)
    warehouse, cluster = _systems()
    if edit:
        _export(warehouse, cluster, selection, edit)
        return
    report = _send_mended(warehouse, cluster, mended) if mended else _send(warehouse, cluster, selection)
    if as_json:
        output.print_json(json.dumps(vars(report)))
        return
    say(f"{report.sent:,} letters sent, {report.sent_before:,} were sent before")
    if report.still_wrong:
        say(
            f"{report.still_wrong:,} break the schema as they are and were left: mend them with --edit and --from"
        )


def _export(warehouse: "SalesWarehouse", cluster: "KafkaCluster", selection: "Selection", file: Path) -> None:
    from tasks.dead_letters import export_letters, read_letters
    from tasks.letter_replays import replayed_letters

    done = replayed_letters(warehouse)
    written = export_letters(
        (each for each in read_letters(cluster, selection) if each.name not in done), file
    )
    say(f"{written:,} letters written to {file}; mend them, then: sales connector dlq replay --from {file}")


def _send(warehouse: "SalesWarehouse", cluster: "KafkaCluster", selection: "Selection") -> "ReplayReport":
    from tasks.dead_letters import read_letters
    from tasks.letter_replays import replay_as_they_are

    return replay_as_they_are(warehouse, cluster, read_letters(cluster, selection))


def _send_mended(warehouse: "SalesWarehouse", cluster: "KafkaCluster", file: Path) -> "ReplayReport":
    from tasks.dead_letters import read_mended
    from tasks.letter_replays import replay_mended

    return replay_mended(warehouse, cluster, read_mended(file))


def _systems() -> "tuple[SalesWarehouse, KafkaCluster]":
    prepare_prefect(load_stack_settings().home)
    from blocks.register import kafka_from, warehouse_from

    settings = settings_or_fail()
    return warehouse_from(settings), kafka_from(settings)


def _selection(
    reason: str | None, source: str | None, partition: int | None, offsets: str | None
) -> "Selection":
    from tasks.dead_letters import Selection

    first, colon, last = (offsets or ":").partition(":")
    try:
        if not colon:
            last = first
        return Selection(
            reason, source, partition, int(first) if first else None, int(last) if last else None
        )
    except ValueError:
        raise WillNotHeal(f"--offsets {offsets} is no FIRST:LAST of two numbers.") from None


def _told(group: "LetterGroup") -> dict[str, Any]:
    told = vars(group) | {"oldest": group.oldest.isoformat(), "newest": group.newest.isoformat()}
    return told | {"examples": [_example(letter) for letter in group.examples]}


def _example(letter: "Letter") -> dict[str, Any]:
    return {
        "letter": letter.name,
        "partition": letter.partition,
        "offset": letter.offset,
        "at": letter.at.isoformat(),
        "reason": letter.reason,
        "key": letter.key and letter.key.decode(errors="replace"),
        "value": letter.value.decode(errors="replace"),
    }


def _print_groups(groups: "list[LetterGroup]") -> None:
    if not groups:
        output.print("No letter matches.")
        return
    table = Table("letters", "replayed", "source", "written by", "oldest", "newest", "reason")
    for group in groups:
        times = (f"{at:%Y-%m-%d %H:%M:%S}" for at in (group.oldest, group.newest))
        cells = (
            f"{group.letters:,}",
            f"{group.replayed:,}",
            group.source,
            group.writer,
            *times,
            group.reason,
        )
        table.add_row(*map(escape, cells))
    output.print(table)
    for letter in (each for group in groups for each in group.examples):
        value = letter.value.decode(errors="replace")[:VALUE_SHOWN]
        output.print(f"[bold]{escape(letter.name)}[/] {escape(letter.reason)}\n  {escape(value)}")
