"""`sales settings`: every setting there is, with its default; .env.example is this command's output."""

import json
from typing import Any

import typer

from blocks.settings import Settings, StackSettings


def settings() -> None:
    """Print every setting with its meaning and default, in the form of an .env file."""
    typer.echo(env_example(), nl=False)


def env_example() -> str:
    """Compose .env.example from the settings' own declarations; a line left commented keeps its default."""
    parts = ["# Copy to .env and uncomment what your environment needs. Never commit secrets.\n"]
    for model, title in ((Settings, "Environment"), (StackSettings, "Embedded stack")):
        parts.append(f"\n# ---- {title}\n")
        for name, field in model.model_fields.items():
            parts.append(f"\n# {field.description}\n# SALES_{name.upper()}={_shown(field.default)}\n")
    return "".join(parts)


def _shown(default: Any) -> str:
    if default is None:
        return ""
    return json.dumps(default) if isinstance(default, dict) else str(default)
