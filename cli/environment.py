"""Which environment a command speaks to: the option `--env`, and what follows from it before Prefect is imported."""

from typing import Annotated

import typer

from blocks.settings import EMBEDDED, environment_names, is_embedded, load_stack_settings
from cli.console import prepare_prefect, say

Environment = Annotated[
    str | None,
    typer.Option(
        "--env",
        help=f"Environment: {', '.join(environment_names())}. A running embedded stack serves as dev; without the "
        "option SALES_ENVIRONMENT decides.",
    ),
]


def prepare_for(env: str | None) -> bool:
    """Settle what Prefect reads at import for this environment; say whether it is the embedded stack's."""
    from local.stack import forget_if_dead

    home = load_stack_settings().home.resolve()
    forget_if_dead(home)
    embedded = env in (None, "dev", EMBEDDED) and is_embedded(home)
    if embedded and env == "dev":
        say(f"dev is the embedded stack in {home}, which is up. Set SALES_ENVIRONMENT=dev for the real one.")
    prepare_prefect(home, embedded)
    return embedded
