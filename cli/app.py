"""The `sales` command: verbs in a table of contents; what each does is in the module it comes from."""

import sys
import traceback
import warnings

import typer

from blocks.errors import SalesError
from cli import (
    backfill,
    blocks,
    connector,
    demo,
    deploy,
    doctor,
    feeds,
    marts,
    produce,
    quarantine,
    settings,
    stack,
    validations,
    verify,
    warehouse,
)
from cli.console import fail, options

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The sales pipeline: run it here with no account, or against the cloud.",
)
app.command("demo")(demo.demo)
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("status")(stack.status)
app.command("run")(demo.run)
app.command("produce")(produce.produce)
app.command("doctor")(doctor.doctor)
app.command("deploy")(deploy.deploy)
app.command("verify")(verify.verify)
app.command("worker")(verify.worker)
app.command("backfill")(backfill.backfill)
app.command("settings")(settings.settings)
app.add_typer(blocks.app, name="blocks")
app.add_typer(warehouse.app, name="warehouse")
app.add_typer(connector.app, name="connector")
app.add_typer(feeds.app, name="feeds")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(marts.app, name="marts")
app.add_typer(validations.app, name="validations")


@app.callback()
def _common(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    options.debug = debug


def main() -> None:
    """Run the command line; an error is one sentence on standard error and an exit code that is not 0."""
    # The Snowflake connector's vendored requests complains about versions that are fine.
    warnings.filterwarnings("ignore", message=".*doesn't match a supported version")
    try:
        app()
    except Exception as error:
        if options.debug or "--debug" in sys.argv:
            traceback.print_exc()
        if isinstance(error, SalesError):
            fail(str(error))
        fail(f"Unexpected {type(error).__name__}: {error}. Run it again with --debug for the traceback.")
