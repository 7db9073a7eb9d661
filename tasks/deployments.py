"""Deployments on the Prefect server: compared with what prefect.yaml declares, written where they differ, pruned."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import DeploymentTriggerTypes
from pydantic import TypeAdapter

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT, Settings, process_environment
from tasks.changes import Change, needed
from tasks.deployment_file import Declared, flow_name, read_deployments, values_for

TAG = "sales"
TIMEOUT_SECONDS = 300
NO_MORE = "not in prefect.yaml any more"


@dataclass(frozen=True)
class Known:
    """A deployment as the server has it, and what of it is compared."""

    deployment: DeploymentResponse
    state: dict[str, Any]


def declared_deployments(settings: Settings, revision: str | None = None) -> dict[str, Declared]:
    """Give what is to be on the server for these settings, by `flow/name`."""
    every = read_deployments(values_for(settings, revision), settings.pull)
    return {f"{flow_name(declared)}/{declared['name']}": declared for declared in every}


def plan_deployments(settings: Settings, revision: str | None = None) -> list[Change]:
    """Compare the file with the server: deployments to create, update, leave alone and delete."""
    known = read_known(settings.environment)
    changes = []
    for name, declared in declared_deployments(settings, revision).items():
        changes.append(_compare(name, declared, known.get(name)))
    return changes + [Change(name, "delete", NO_MORE) for name in sorted(_stale(settings, revision, known))]


def apply_deployments(settings: Settings, revision: str | None = None) -> list[Change]:
    """Write what differs by `prefect deploy`, delete what the file no longer has, and say what was done.

    Only deployments tagged with `sales` and this environment are ever deleted. Raises WillNotHeal if Prefect
    refuses one.
    """
    changes = plan_deployments(settings, revision)
    every = declared_deployments(settings, revision)
    if chosen := [every[change.what] for change in needed(changes) if change.what in every]:
        _prefect_deploy(settings, chosen)
    known = read_known(settings.environment)
    with get_client(sync_client=True) as client:
        for name, found in known.items():
            if name in every:
                _prune_schedules(client, found.deployment, every[name])
        for name in _stale(settings, revision, known):
            client.delete_deployment(known[name].deployment.id)
    return changes


def read_known(environment: str) -> dict[str, Known]:
    """Read every deployment of an environment's name, by `flow/name`."""
    by_name = DeploymentFilter(name=DeploymentFilterName(any_=[environment]))
    with get_client(sync_client=True) as client:
        found = client.read_deployments(deployment_filter=by_name, limit=200)
        automations = [each.model_dump(mode="json") for each in client.read_automations(limit=200)]
        names = {each.flow_id: client.read_flow(each.flow_id).name for each in found}
    return {f"{names[each.flow_id]}/{each.name}": Known(each, _actual(each, automations)) for each in found}


def expected(declared: Declared, deployment_id: UUID | None) -> dict[str, Any]:
    """Give what is compared of a declared deployment; its triggers speak of `deployment_id`."""
    limit = declared.get("concurrency_limit") or {}
    return {
        "entrypoint": declared["entrypoint"],
        "version": declared["version"],
        "description": declared["description"],
        "tags": sorted(declared["tags"]),
        "parameters": declared.get("parameters") or {},
        "work pool": declared["work_pool"]["name"],
        "job variables": declared["work_pool"].get("job_variables", {}),
        "concurrency limit": (limit.get("limit"), limit.get("collision_strategy")),
        "pull steps": declared["pull"],
        "schedules": {
            schedule["slug"]: (schedule["cron"], schedule["timezone"], schedule["active"])
            for schedule in declared.get("schedules", [])
        },
        "triggers": _by_name(_automation(spec, deployment_id) for spec in declared.get("triggers", [])),
    }


def _actual(found: DeploymentResponse, automations: list[dict[str, Any]]) -> dict[str, Any]:
    limit, options = found.global_concurrency_limit, found.concurrency_options
    mine = [each for each in automations if str(found.id) in str(each["actions"])]
    return {
        "entrypoint": found.entrypoint,
        "version": found.version,
        "description": found.description,
        "tags": sorted(found.tags),
        "parameters": found.parameters,
        "work pool": found.work_pool_name,
        "job variables": found.job_variables,
        "concurrency limit": (
            limit.limit if limit else None,
            options.collision_strategy.value if options else None,
        ),
        "pull steps": found.pull_steps,
        "schedules": {
            each.slug or str(each.id): (
                getattr(each.schedule, "cron", None),
                getattr(each.schedule, "timezone", None),
                each.active,
            )
            for each in found.schedules
        },
        "triggers": _by_name(mine),
    }


def _automation(spec: dict[str, Any], deployment_id: UUID | None) -> dict[str, Any]:
    trigger: DeploymentTriggerTypes = TypeAdapter(DeploymentTriggerTypes).validate_python(dict(spec))
    trigger.set_deployment_id(deployment_id or UUID(int=0))
    return trigger.as_automation().model_dump(mode="json")


def _by_name(automations: Any) -> dict[str, Any]:
    """Reduce automations to what a declaration says: the trigger's match and what is run with what."""
    kept = ("match", "match_related", "expect", "posture", "threshold")
    return {
        each["name"]: {
            "enabled": each["enabled"],
            "parameters": [action.get("parameters") for action in each["actions"]],
            **{key: _plain(each["trigger"].get(key)) for key in kept},
        }
        for each in automations
    }


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _compare(name: str, declared: Declared, known: Known | None) -> Change:
    if known is None:
        return Change(name, "create", f"{declared['entrypoint']} on {declared['work_pool']['name']}")
    wanted = expected(declared, known.deployment.id)
    different = [key for key, value in wanted.items() if known.state[key] != value]
    return Change(name, "update", ", ".join(different)) if different else Change(name, "unchanged")


def _stale(settings: Settings, revision: str | None, known: dict[str, Known]) -> list[str]:
    every, tags = declared_deployments(settings, revision), {TAG, settings.environment}
    return [n for n, found in known.items() if n not in every and tags <= set(found.deployment.tags)]


def _prune_schedules(client: SyncPrefectClient, found: DeploymentResponse, declared: Declared) -> None:
    """Delete the schedules that the file no longer has: an update leaves them when none is declared."""
    slugs = {schedule["slug"] for schedule in declared.get("schedules", [])}
    for schedule in found.schedules:
        if schedule.slug not in slugs:
            client.delete_deployment_schedule(found.id, schedule.id)


def _prefect_deploy(settings: Settings, chosen: list[Declared]) -> None:
    address = {"PREFECT_API_URL": settings.prefect_api_url} if settings.prefect_api_url else {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump({"name": "sales-pipeline", "deployments": chosen}))
        answer = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
            cwd=PROJECT,
            env=process_environment(address),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    if answer.returncode != 0:
        told = (answer.stderr.strip() or answer.stdout.strip()).splitlines()[-5:]
        raise WillNotHeal(f"`prefect deploy` failed: {' '.join(told)}")
