"""`sales feeds`: which CSV feeds there are, and what each declares."""

from typing import Annotated

import typer

from cli.console import output

app = typer.Typer(no_args_is_help=True, help="CSV feeds: one YAML file each in spark_jobs/sources/.")


@app.command("list")
def list_feeds() -> None:
    """Name every feed."""
    from blocks.feeds import feed_names

    output.print("\n".join(feed_names()))


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of the feed.")]) -> None:
    """Show one feed as the pipeline reads it, checked against the contract."""
    from blocks.feeds import load_feed

    output.print_json(load_feed(name).model_dump_json(exclude_defaults=True))
