"""`sales connector`: the Kafka Connect connector that lands events in the warehouse."""

import typer

from blocks.settings import Settings, load_stack_settings
from cli.console import output, prepare_prefect, say, settings_or_fail, step

app = typer.Typer(no_args_is_help=True, help="The Snowflake sink on Kafka Connect.")


@app.command()
def status() -> None:
    """Show the connector's state and each task's."""
    prepare_prefect(load_stack_settings().home)
    from blocks.register import kafka_connect_from
    from tasks.kafka_connect import connector_status

    output.print_json(connector_status(kafka_connect_from(settings_or_fail())).model_dump_json())


@app.command()
def restart() -> None:
    """Restart the connector and its tasks where they failed."""
    prepare_prefect(load_stack_settings().home)
    from blocks.register import kafka_connect_from
    from tasks.kafka_connect import restart_failed

    output.print_json(restart_failed(kafka_connect_from(settings_or_fail())).model_dump_json())


@app.command()
def apply() -> None:
    """Create the connector or bring its configuration up to date; unchanged, it is left alone."""
    prepare_prefect(load_stack_settings().home)
    apply_connector(settings_or_fail())


def apply_connector(settings: Settings) -> None:
    """Bring the connector to the configuration rendered from the settings."""
    from blocks.register import kafka_connect_from
    from tasks.kafka_connect import apply_connector as put
    from tasks.kafka_connect import render_connector

    with step("connector applied"):
        outcome = put(kafka_connect_from(settings), render_connector(settings.model_dump(mode="json")))
    say(f"connector {outcome}")
