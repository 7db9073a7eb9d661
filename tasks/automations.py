"""Automations as data: what monitoring/automations.yml declares is what the Prefect server has, by name."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import AutomationCore
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from pydantic import ValidationError

from blocks.errors import WillNotHeal
from blocks.load import load_block
from blocks.settings import PROJECT, Settings
from tasks.changes import Change, needed

FILE = PROJECT / "monitoring" / "automations.yml"


def read_automations(file: Path = FILE) -> list[dict[str, Any]]:
    """Read the declarations. Raises WillNotHeal for one without a name of its own or without a runbook."""
    declared = yaml.safe_load(file.read_text())["automations"]
    found = [each.get("name") for each in declared]
    if None in found or len(set(found)) < len(found):
        raise WillNotHeal(f"{file.name}: every automation needs a name of its own, found {found}.")
    if bare := [each["name"] for each in declared if not each.get("runbook")]:
        raise WillNotHeal(
            f"{file.name}: give {', '.join(bare)} a runbook, the name of a file in docs/runbooks."
        )
    return declared


def apply_automations(settings: Settings, file: Path = FILE) -> list[Change]:
    """Create or update every declared automation that differs, known by its name; say what was done.

    `prefect automation create` would make a second one each time. Raises WillNotHeal for one that Prefect does
    not understand, or whose notification block is not there.
    """
    every = {wanted.name: wanted for wanted in _wanted(settings, file)}
    changes = plan_automations(settings, file)
    with get_client(sync_client=True) as client:
        for change in needed(changes):
            wanted = every[change.what]
            if change.action == "update":
                client.update_automation(client.read_automations_by_name(wanted.name)[0].id, wanted)
            else:
                client.create_automation(wanted)
    return changes


def plan_automations(settings: Settings, file: Path = FILE) -> list[Change]:
    """Compare the declared automations with the server's. Raises as `apply_automations`."""
    every = _wanted(settings, file)
    with get_client(sync_client=True) as client:
        return [_compare(wanted, client.read_automations_by_name(wanted.name)) for wanted in every]


def late_after(flow: str, file: Path = FILE) -> timedelta | None:
    """Give how long a flow's deployment may be without a success, as its automation declares; None if it has none."""
    for declared in read_automations(file):
        if declared.get("needs_schedules"):
            related = declared["trigger"]["match_related"]
            of_flows = [each for each in related if each["prefect.resource.role"] == "flow"]
            if any(flow in each["prefect.resource.name"] for each in of_flows):
                return timedelta(seconds=declared["trigger"]["within"])
    return None


def runbook_url(settings: Settings, runbook: str) -> str:
    """Give the link to a runbook, or its path in the repository where no address is set."""
    return f"{settings.runbooks_url.rstrip('/') or 'docs/runbooks'}/{runbook}.md"


def _compare(wanted: AutomationCore, known: Sequence[AutomationCore]) -> Change:
    if not known:
        return Change(wanted.name, "create")
    # Sets stay sets: as JSON they would be lists, in any order.
    same = wanted.model_dump() == {name: known[0].model_dump()[name] for name in type(wanted).model_fields}
    return Change(wanted.name, "unchanged" if same else "update")


def _wanted(settings: Settings, file: Path) -> list[AutomationCore]:
    return [_automation(declared, settings, file) for declared in read_automations(file)]


def _automation(declared: dict[str, Any], settings: Settings, file: Path) -> AutomationCore:
    own = {"runbook", "needs_schedules"}
    link = runbook_url(settings, declared["runbook"])
    filled: dict[str, Any] = {key: value for key, value in declared.items() if key not in own}
    filled["actions"] = [_with_link(_with_block_id(action), link) for action in declared["actions"]]
    if declared.get("needs_schedules"):
        filled["enabled"] = settings.schedules_active
    try:
        return AutomationCore.model_validate(filled)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise WillNotHeal(f"{file.name}, {declared['name']}: {faults}") from None


def _with_link(action: dict[str, Any], link: str) -> dict[str, Any]:
    """End a notification with the link to what is to be done."""
    return action | {"body": f"{action['body'].rstrip()}\nRunbook: {link}"} if "body" in action else action


def _with_block_id(action: dict[str, Any]) -> dict[str, Any]:
    """Put in place of a notification block's name its id, by which the server knows it."""
    if "block" not in action:
        return action
    block = load_block(CustomWebhookNotificationBlock, action["block"])
    rest = {key: value for key, value in action.items() if key != "block"}
    return rest | {"block_document_id": str(block._block_document_id)}
