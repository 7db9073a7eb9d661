"""Every node of a dbt run as a task run of the flow run: its state and its messages, as dbt tells them.

dbt runs the nodes; through Prefect's client we only say so. A node that is run again (dbt's retry, or a retry of
the flow run) is the same task run, retrying.
"""

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import Task, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State, TaskRun, TaskRunResult
from prefect.exceptions import PrefectException
from prefect.logging.loggers import task_run_logger
from prefect.states import Cancelled, Completed, Crashed, Failed, Retrying, Running

Event = dict[str, Any]
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
STATES: dict[str, Callable[[str], State[Any]]] = {
    "success": lambda said: Completed(message=said),
    "pass": lambda said: Completed(message=said),
    "warn": lambda said: Completed(name="Warned", message=said),
    "skipped": lambda said: Cancelled(name="Skipped", message=said),
    "error": lambda said: Failed(message=said),
    "fail": lambda said: Failed(message=said),
    "partial success": lambda said: Failed(message=said),
    "runtime error": lambda said: Failed(message=said),
}
LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO}


def run_dbt_node() -> None:
    """Stand for a node in Prefect, which names and versions a task by its function; dbt does the work."""


NODE = Task(fn=run_dbt_node, name="dbt node", tags=["dbt"])


class NodeRuns:
    """The task runs of one dbt run, made and moved on by dbt's events, in order."""

    def __init__(self, client: SyncPrefectClient, flow_run_id: UUID, target: Path) -> None:
        self.client, self.flow_run_id, self.target = client, flow_run_id, target
        self.runs: dict[str, TaskRun] = {}
        self.open: set[str] = set()
        self.parents: dict[str, list[str]] | None = None

    def tell(self, event: Event) -> None:
        """Take an event that concerns a node: its start, its end, or a message."""
        node, said = event["data"]["node_info"], event["info"]["msg"].strip()
        key, state = node["unique_id"], STATES.get(node["node_status"])
        # Of an exposure nothing is run; of a source without rows dbt says that it fails, see tasks/dbt_freshness.py.
        if node["node_status"] == "no-op" or node["resource_type"] == "source":
            return
        if key not in self.runs:
            self._start(node)
        if state and key in self.open:
            self.client.set_task_run_state(self.runs[key].id, state(said), force=True)
            self.open.discard(key)
        # A passing test has said all in its state; the starts are told by the states' times.
        quiet = event["info"]["name"].endswith("StartLine") or node["node_status"] == "pass"
        level = logging.DEBUG if quiet else LEVELS.get(event["info"]["level"], logging.DEBUG)
        if said:
            task_run_logger(self.runs[key], NODE).log(level, "dbt: %s", said)

    def close(self) -> None:
        """Say of what is still open that it will not end any more."""
        for key in sorted(self.open):
            ended: State[Any] = Crashed(message="dbt ended before this node did.")
            self.client.set_task_run_state(self.runs[key].id, ended, force=True)
        self.open.clear()

    def _start(self, node: dict[str, Any]) -> None:
        key = node["unique_id"]
        before = [TaskRunResult(id=self.runs[name].id) for name in self._parents(key) if name in self.runs]
        run = self.client.create_task_run(
            NODE,
            self.flow_run_id,
            dynamic_key=key,  # with it, a node that was there before is found again
            name=f"{node['resource_type']} {node['node_name']}",
            state=Running(),
            task_inputs={"depends_on": before},  # type: ignore[dict-item]
        )
        if run.state and run.state.is_final():
            self.client.set_task_run_state(run.id, Retrying(), force=True)
        self.runs[key] = run
        self.open.add(key)

    def _parents(self, key: str) -> list[str]:
        # dbt writes the manifest before it starts the first node.
        if self.parents is None:
            path = self.target / "manifest.json"
            self.parents = json.loads(path.read_text())["parent_map"] if path.exists() else {}
        return self.parents.get(key, [])


@contextmanager
def node_runs(flow_run_id: UUID, target: Path, logger: Log) -> Iterator[Callable[[Event], None]]:
    """Give a function that takes dbt's events of nodes and returns at once; another thread tells Prefect.

    A Prefect server that cannot be reached is told of in one warning: the build is what matters.
    """
    failed: list[Exception] = []

    def safely(act: Callable[..., None], *arguments: Any) -> None:
        if not failed:
            try:
                act(*arguments)
            except (httpx.HTTPError, PrefectException) as error:
                failed.append(error)
                logger.warning("The nodes of this dbt run are not shown any further: %s", error)

    with get_client(sync_client=True) as client, ThreadPoolExecutor(max_workers=1) as one_by_one:
        runs = NodeRuns(client, flow_run_id, target)

        def tell(event: Event) -> None:
            one_by_one.submit(copy_context().run, safely, runs.tell, event)

        try:
            yield tell
        finally:
            one_by_one.submit(safely, runs.close)
