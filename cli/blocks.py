"""`sales blocks`: write the blocks from the settings, and show what they point at."""

import typer

from blocks.settings import Settings, load_stack_settings
from cli.console import output, prefect_at, prepare_prefect, settings_or_fail, step

app = typer.Typer(no_args_is_help=True, help="Prefect blocks: where the flows find services and credentials.")


@app.command()
def register() -> None:
    """Write every block from the settings, and the automations; what exists is replaced."""
    prepare_prefect(load_stack_settings().home)
    settings = settings_or_fail()
    with prefect_at(settings):
        register_blocks(settings)


@app.command()
def show() -> None:
    """Show every block with what it holds; secrets stay masked."""
    prepare_prefect(load_stack_settings().home)
    from blocks.register import blocks_from

    for name, block in blocks_from(settings_or_fail()).items():
        output.print(f"[bold]{name}[/] {type(block).__name__}")
        output.print_json(block.model_dump_json(exclude_none=True))


def register_blocks(settings: Settings) -> None:
    """Write every block to the Prefect server in use, and the automations that speak through them."""
    from blocks.register import register as write
    from tasks.automations import apply_automations

    with step(f"blocks registered for {settings.environment}"):
        for _name in write(settings):
            pass
    with step("automations applied"):
        apply_automations()
