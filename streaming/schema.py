"""The event schema, compiled once: what may go on the topic."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema

from streaming.quick_check import quick_check

SCHEMA_VERSION = 1
EVENTS = Path(__file__).parent / "events"
SCHEMA_FILE = EVENTS / f"sale.v{SCHEMA_VERSION}.json"
_SCHEMA = json.loads(SCHEMA_FILE.read_text())
_is_good = quick_check(_SCHEMA)


@cache
def event_validator() -> Callable[[Mapping[str, Any]], Any]:
    """Compile the schema of a sale event; the function raises `JsonSchemaValueException` for a bad one."""
    return fastjsonschema.compile(_SCHEMA)


def event_fault(event: Mapping[str, Any] | bytes) -> str | None:
    """Say what is wrong with an event, or None if nothing is. Bytes are read as JSON first."""
    if type(event) is dict and _is_good(event):
        return None
    try:
        event_validator()(json.loads(event) if isinstance(event, bytes) else event)
    except fastjsonschema.JsonSchemaValueException as error:
        return error.message
    except ValueError as error:
        return f"not JSON: {error}"
    return None
