"""`sales connector`: the Kafka Connect connector that lands events in the warehouse."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from blocks.errors import WillNotHeal
from blocks.settings import Settings, load_stack_settings
from cli import dead_letters
from cli.console import output, prepare_prefect, say, settings_or_fail, step

if TYPE_CHECKING:
    from tasks.connector_config import ConfigChange
    from tasks.connector_state import ConnectorApi, ConnectorStatus

app = typer.Typer(no_args_is_help=True, help="The Snowflake sink on Kafka Connect, or on MSK Connect.")
app.add_typer(dead_letters.app, name="dlq")
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
WAIT_SECONDS = 30


@app.command()
def status(
    as_json: Json = False,
    every: Annotated[bool, typer.Option("--all", help="Show every connector there is.")] = False,
) -> None:
    """Show the connector's state and each task's, with the cause of a failure and what to do about it."""
    settings = _settings()
    if every:
        from tasks.kafka_connect import list_connectors

        _show(list_connectors(_block(settings)), as_json)
    else:
        _show([_connector(settings).status()], as_json, alone=True)


@app.command()
def diff(as_json: Json = False) -> None:
    """Show which keys of its configuration `apply` would change; secrets that are no references stay hidden."""
    settings = _settings()
    _show_changes(_changes(_connector(settings), _wanted(settings)), as_json)


@app.command()
def apply(as_json: Json = False) -> None:
    """Create the connector or bring its configuration up to date, checked first; unchanged, it is left alone."""
    settings = _settings()
    connector, wanted = _connector(settings), _wanted(settings)
    changes = _changes(connector, wanted)
    if changes and (faults := connector.validate(wanted)):
        raise WillNotHeal(
            "Kafka Connect would refuse this configuration; nothing was changed. "
            + "; ".join(f"{key}: {error}" for key, error in faults)
        )
    _show_changes(changes, as_json)
    if changes:
        say(f"connector {connector.put(wanted)}")


@app.command()
def restart(
    every: Annotated[bool, typer.Option("--all", help="Restart what runs, too.")] = False,
    as_json: Json = False,
) -> None:
    """Restart the connector and its tasks where they failed, and show what has become of them."""
    _act(lambda connector: connector.restart(only_failed=not every), as_json)


@app.command()
def pause(as_json: Json = False) -> None:
    """Have the sink process nothing for a while; its tasks stay, and events wait on the topic."""
    _act(lambda connector: connector.pause(), as_json)


@app.command()
def resume(as_json: Json = False) -> None:
    """Have the sink run again after a pause or a stop; it goes on where it was."""
    _act(lambda connector: connector.resume(), as_json)


@app.command()
def stop(as_json: Json = False) -> None:
    """Have the sink shut down its tasks; configuration and offsets are kept, and `resume` starts it."""
    _act(lambda connector: connector.stop(), as_json)


@app.command()
def offsets(as_json: Json = False) -> None:
    """Show, by partition, up to where the sink has committed, where the topic ends, and the lag between them."""
    settings = _settings()
    from blocks.register import kafka_from
    from tasks.kafka import topic_offsets

    committed = _connector(settings).offsets()
    ends = {topic: topic_offsets(kafka_from(settings), topic) for topic in {topic for topic, _ in committed}}
    rows: list[dict[str, Any]] = [
        {"topic": topic, "partition": partition, "committed": offset, "end": ends[topic][partition][1]}
        for (topic, partition), offset in sorted(committed.items())
    ]
    rows = [row | {"lag": max(0, row["end"] - row["committed"])} for row in rows]
    _table(["topic", "partition", "committed", "end", "lag"], rows, as_json)


def apply_connector(settings: Settings) -> None:
    """Bring the connector to the configuration rendered from the settings."""
    from tasks.kafka_connect import apply_connector as put

    with step("connector applied"):
        outcome = put(_block(settings), _wanted(settings))
    say(f"connector {outcome}")


def _settings() -> Settings:
    prepare_prefect(load_stack_settings().home)
    return settings_or_fail()


def _block(settings: Settings) -> Any:
    from blocks.register import kafka_connect_from

    return kafka_connect_from(settings)


def _connector(settings: Settings) -> "ConnectorApi":
    from tasks.kafka_connect import open_connector

    return open_connector(_block(settings))


def _wanted(settings: Settings) -> dict[str, str]:
    from tasks.connector_config import render_connector

    return render_connector(settings.model_dump(mode="json"))


def _changes(connector: "ConnectorApi", wanted: dict[str, str]) -> "list[ConfigChange]":
    from tasks.connector_config import config_diff

    return config_diff(connector.config(), wanted)


def _act(action: Callable[["ConnectorApi"], None], as_json: bool) -> None:
    """Do it, give the connector some time to get there, and show it."""
    connector = _connector(_settings())
    from tasks.connector_healing import settle

    action(connector)
    _show([settle(connector, WAIT_SECONDS)], as_json, alone=True)


def _show(found: "list[ConnectorStatus]", as_json: bool, alone: bool = False) -> None:
    from tasks.connector_state import advice_for

    if as_json:
        data = [status.model_dump(mode="json") for status in found]
        output.print_json(json.dumps(data[0] if alone else data))
        return
    table = Table("connector", "part", "state", "worker", "cause")
    for status in found:
        for what, part in status.parts.items():
            table.add_row(
                *(escape(text) for text in (status.name, what, part.state, part.worker_id, part.reason))
            )
    output.print(table)
    for status in found:
        if advice := advice_for(status):
            output.print(escape(f"{status.name}: {advice}"))


def _show_changes(changes: "list[ConfigChange]", as_json: bool) -> None:
    if not changes and not as_json:
        output.print("The connector has this configuration already.")
        return
    _table(["key", "old", "new"], [asdict(change) for change in changes], as_json)


def _table(columns: list[str], rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        output.print_json(json.dumps(rows))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if row[column] is None else escape(str(row[column])) for column in columns))
    output.print(table)
