"""The sink's configuration: rendered from settings, and compared with what a connector has."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT
from tasks.connector_state import Config

FOLDER = PROJECT / "streaming" / "connectors"
CONNECTOR_FILES = {4: FOLDER / "snowflake_sink.json", 3: FOLDER / "snowflake_sink.v3.json"}
SECRET_KEY = re.compile(r"private\.key|password|passphrase|secret|token|credential", re.IGNORECASE)
# ${provider:path:key}, resolved by Connect's ConfigTransformer; the path may be left out.
REFERENCE = re.compile(r"\$\{[^}:]+:([^}]*:)?[^}]+\}")
HIDDEN = "(a secret, not a reference)"


@dataclass(frozen=True)
class ConfigChange:
    """One key that differs; None where it is absent. A secret that is not a reference is not shown."""

    key: str
    old: str | None
    new: str | None


def render_connector(settings: Mapping[str, Any], file: Path | None = None) -> Config:
    """Fill in a connector's configuration, a JSON object of Jinja templates, from settings by their names.

    Without a file it is the one of the Snowflake connector's version that the settings name. Secrets are not
    settings here: the private key is a config-provider reference that only Connect resolves.
    Raises WillNotHeal for a setting the file wants and `settings` does not have, and for a secret in clear.
    """
    file = file or CONNECTOR_FILES[settings.get("kafka_connect_snowflake_version", max(CONNECTOR_FILES))]
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    templates = json.loads(file.read_text())
    try:
        config = {key: environment.from_string(text).render(settings) for key, text in templates.items()}
    except UndefinedError as error:
        raise WillNotHeal(f"{file.name} cannot be filled in: {error}") from None
    if in_clear := [key for key, value in config.items() if _is_secret(key, value)]:
        raise WillNotHeal(
            f"{file.name}: {', '.join(in_clear)} would be a secret in clear, which everybody who may read the "
            "connector could read.",
            "Give a config-provider reference such as ${secretsmanager:name:key} "
            "(SALES_KAFKA_CONNECT_PRIVATE_KEY_REFERENCE).",
        )
    return config


def config_diff(old: Mapping[str, str] | None, new: Mapping[str, str]) -> list[ConfigChange]:
    """List the keys by which a connector's configuration would change, in order; `old` None: all of them.

    `name` does not count: Connect adds it by itself.
    """
    before = dict(old or {})
    return [
        ConfigChange(key, _shown(key, before.get(key)), _shown(key, new.get(key)))
        for key in sorted((before.keys() | new.keys()) - {"name"})
        if before.get(key) != new.get(key)
    ]


def _is_secret(key: str, value: str) -> bool:
    return bool(SECRET_KEY.search(key) and value and not REFERENCE.fullmatch(value.strip()))


def _shown(key: str, value: str | None) -> str | None:
    return HIDDEN if value is not None and _is_secret(key, value) else value
