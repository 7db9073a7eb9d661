"""Automations as data: what monitoring/automations.yml declares is what the Prefect server has, by name."""

from pathlib import Path
from typing import Any

import yaml
from prefect.automations import AutomationCore
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from pydantic import ValidationError

from blocks.errors import WillNotHeal
from blocks.load import load_block
from blocks.settings import PROJECT

FILE = PROJECT / "monitoring" / "automations.yml"


def read_automations(file: Path = FILE) -> list[dict[str, Any]]:
    """Read the declarations. Raises WillNotHeal for a file without names or with one of them twice."""
    declared = yaml.safe_load(file.read_text())["automations"]
    found = [each.get("name") for each in declared]
    if None in found or len(set(found)) < len(found):
        raise WillNotHeal(f"{file.name}: every automation needs a name of its own, found {found}.")
    return declared


def apply_automations(file: Path = FILE) -> list[str]:
    """Create or update every declared automation, known by its name; give the names.

    `prefect automation create` would make a second one each time. Raises WillNotHeal for one that Prefect does
    not understand, or whose notification block is not there.
    """
    every = [_automation(declared, file) for declared in read_automations(file)]
    with get_client(sync_client=True) as client:
        for wanted in every:
            known = client.read_automations_by_name(wanted.name)
            if known:
                client.update_automation(known[0].id, wanted)
            else:
                client.create_automation(wanted)
    return [wanted.name for wanted in every]


def _automation(declared: dict[str, Any], file: Path) -> AutomationCore:
    actions = [_with_block_id(action) for action in declared["actions"]]
    try:
        return AutomationCore.model_validate(declared | {"actions": actions})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise WillNotHeal(f"{file.name}, {declared['name']}: {faults}") from None


def _with_block_id(action: dict[str, Any]) -> dict[str, Any]:
    """Put in place of a notification block's name its id, by which the server knows it."""
    if "block" not in action:
        return action
    block = load_block(CustomWebhookNotificationBlock, action["block"])
    rest = {key: value for key, value in action.items() if key != "block"}
    return rest | {"block_document_id": str(block._block_document_id)}
