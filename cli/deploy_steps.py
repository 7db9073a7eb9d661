"""The steps of `sales deploy`, in order: what each would change, and how it is carried out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blocks import names
from blocks.register import blocks_from, kafka_connect_from, registered, warehouse_from
from blocks.register import register as write_blocks
from blocks.settings import Settings
from blocks.storage import Storage, exists, storage_for
from cli.warehouse import migration_variables
from tasks.automations import apply_automations, plan_automations, read_automations
from tasks.changes import Change
from tasks.connector_config import config_diff, render_connector
from tasks.databricks import job_path, upload_job
from tasks.deployment_file import flow_name, read_deployments, values_for_show
from tasks.deployments import apply_deployments, plan_deployments
from tasks.kafka_connect import apply_connector, open_connector
from tasks.migrations import migrate, pending, read_migrations
from tasks.work_pool import create_work_pool, plan_work_pool

BLOCKS = [
    *(names.AWS, names.WAREHOUSE, names.DATABRICKS, names.DATABRICKS_CLUSTER, names.DROP_STORAGE),
    *(names.RAW_STORAGE, names.PROCESSED_STORAGE, names.RESULT_STORAGE, names.KAFKA, names.KAFKA_CONNECT),
    *(names.ALERTS, names.METRICS),
]


@dataclass(frozen=True)
class Step:
    """One part of a deployment.

    `declared` names what it is about without looking at anything, `plan` compares that with what is there and
    changes nothing, `apply` makes it so; it is only called if the plan has changes.
    """

    name: str
    declared: Callable[[], list[str]]
    plan: Callable[[], list[Change]]
    apply: Callable[[], object]


def steps(settings: Settings, revision: str | None) -> list[Step]:
    """Give the steps in the order in which each finds what it needs: warehouse first, deployments last."""
    return [
        Step(
            "warehouse",
            lambda: [migration.name for migration in read_migrations()],
            lambda: _plan_warehouse(settings),
            lambda: list(migrate(warehouse_from(settings), migration_variables(settings))),
        ),
        Step(
            "spark job",
            lambda: [job_path()],
            lambda: [
                Change(job_path(), "unchanged" if exists(_processed(settings), job_path()) else "create")
            ],
            lambda: upload_job(_processed(settings)),
        ),
        Step(
            "connector",
            lambda: [names.CONNECTOR],
            lambda: _plan_connector(settings),
            lambda: apply_connector(kafka_connect_from(settings), _connector_config(settings)),
        ),
        Step(
            "blocks",
            lambda: BLOCKS,
            lambda: [Change(name, registered(name, block)) for name, block in blocks_from(settings).items()],
            lambda: list(write_blocks(settings)),
        ),
        Step(
            "work pool",
            lambda: [f"{settings.work_pool} ({settings.work_pool_type})"],
            lambda: plan_work_pool(settings.work_pool, settings.work_pool_type),
            lambda: create_work_pool(settings.work_pool, settings.work_pool_type),
        ),
        Step(
            "deployments",
            lambda: list(_declared_in_words(settings, revision)),
            lambda: plan_deployments(settings, revision),
            lambda: apply_deployments(settings, revision),
        ),
        Step(
            "automations",
            lambda: [declared["name"] for declared in read_automations()],
            lambda: plan_automations(settings),
            lambda: apply_automations(settings),
        ),
    ]


def _plan_warehouse(settings: Settings) -> list[Change]:
    missing = {migration.name for migration in pending(warehouse_from(settings), settings.snowflake_database)}
    every = [migration.name for migration in read_migrations()]
    return [Change(name, "create" if name in missing else "unchanged") for name in every]


def _plan_connector(settings: Settings) -> list[Change]:
    known = open_connector(kafka_connect_from(settings)).config()
    if known is None:
        return [Change(names.CONNECTOR, "create")]
    different = [change.key for change in config_diff(known, _connector_config(settings))]
    return [Change(names.CONNECTOR, "update" if different else "unchanged", ", ".join(different))]


def _connector_config(settings: Settings) -> dict[str, str]:
    return render_connector(settings.model_dump(mode="json"))


def _processed(settings: Settings) -> Storage:
    return storage_for(settings.processed_url, blocks_from(settings)[names.AWS])  # type: ignore[arg-type]


def _declared_in_words(settings: Settings, revision: str | None) -> Iterator[str]:
    for declared in read_deployments(values_for_show(settings, revision), settings.pull):
        when = [
            f"{each['cron']} {each['timezone']}" for each in declared.get("schedules", []) if each["active"]
        ]
        events = [event for trigger in declared.get("triggers", []) for event in trigger["expect"]]
        name = f"{flow_name(declared)}/{declared['name']}"
        yield f"{name} at {declared['version'][:12]}: {', '.join([*when, *events]) or 'on demand'}"
