"""`sales blocks`: write the blocks from the settings, and show what they point at."""

from pathlib import Path
from typing import Annotated

import typer

from blocks.settings import Settings
from cli.console import output, prefect_at, settings_or_fail, step
from cli.environment import Environment, prepare_for

app = typer.Typer(no_args_is_help=True, help="Prefect blocks: where the flows find services and credentials.")
FromTerraform = Annotated[
    list[Path] | None,
    typer.Option(
        help="Folder of an applied Terraform root, or a saved `terraform output -json`; repeatable."
    ),
]


@app.command()
def register(env: Environment = None, from_terraform: FromTerraform = None) -> None:
    """Write every block from the settings, and the automations; what is as it should be is left alone."""
    prepare_for(env)
    settings = settings_from(env, from_terraform)
    with prefect_at(settings):
        register_blocks(settings)


@app.command()
def show(env: Environment = None, from_terraform: FromTerraform = None) -> None:
    """Show every block with what it holds; secrets stay masked."""
    prepare_for(env)
    from blocks.register import blocks_from

    for name, block in blocks_from(settings_from(env, from_terraform)).items():
        output.print(f"[bold]{name}[/] {type(block).__name__}")
        output.print_json(block.model_dump_json(exclude_none=True))


def settings_from(env: str | None, from_terraform: list[Path] | None) -> Settings:
    """Give an environment's settings, Terraform's outputs over them, secrets of Secrets Manager filled in."""
    from blocks.secret_lookup import with_secrets
    from blocks.terraform import settings_from_terraform

    return with_secrets(settings_or_fail(env, settings_from_terraform(from_terraform or [])))


def register_blocks(settings: Settings) -> None:
    """Write every block to the Prefect server in use, and the automations that speak through them."""
    from blocks.register import register as write
    from tasks.automations import apply_automations

    with step(f"blocks registered for {settings.environment}"):
        for _name in write(settings):
            pass
    with step("automations applied"):
        apply_automations(settings)
