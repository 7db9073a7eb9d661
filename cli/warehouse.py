"""`sales warehouse`: bring the warehouse's tables to the state of the code, and ask it questions."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from blocks.settings import Settings, load_stack_settings
from cli.console import output, prepare_prefect, say, settings_or_fail, step

app = typer.Typer(no_args_is_help=True, help="The warehouse: migrations and queries.")


@app.command()
def migrate() -> None:
    """Apply the migrations in sql/ that this warehouse has not seen; an edited applied file is an error."""
    prepare_prefect(load_stack_settings().home)
    migrate_warehouse(settings_or_fail())


@app.command()
def query(sql: Annotated[str, typer.Argument(help="One SQL statement.")]) -> None:
    """Run one SQL statement as the pipeline's user and show its rows."""
    prepare_prefect(load_stack_settings().home)
    from blocks.register import warehouse_from

    rows = warehouse_from(settings_or_fail()).rows(sql)
    table = Table(*(rows[0] if rows else ["no rows"]))
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    output.print(table)


def migrate_warehouse(settings: Settings) -> None:
    """Apply what is missing and report each file."""
    from blocks.register import warehouse_from
    from tasks.migrations import migrate as apply

    with step("warehouse migrated"):
        for migration in apply(warehouse_from(settings), migration_variables(settings)):
            say(f"applied {migration.name}")


def migration_variables(settings: Settings) -> dict[str, str]:
    """Give the values that the migrations' SQL asks for."""
    return {
        "database": settings.snowflake_database,
        "processed_url": settings.processed_url.rstrip("/") + "/",
        "stage_options": settings.snowflake_stage_options,
    }
