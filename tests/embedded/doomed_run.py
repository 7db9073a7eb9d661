"""A flow run in a process of its own that kills itself, without warning, at a chosen moment; for tests alone.

The product knows nothing of it: in this process alone, the calls by which a run reaches outside (statements to the
warehouse, calls to Databricks, files, dbt's process) are watched, and noted in a file, one line each.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import UUID

# pyspark, which Great Expectations imports, takes a process whose main module is not a file for a doctest and ends it.
vars(sys.modules["__main__"]).setdefault("__file__", __file__)


def run_until(settings: Any, run_id: str, journal: Path, moment: str | None) -> None:
    """Run this flow run; be killed `before …` or `after …` the first effect that matches the rest of the moment."""
    import httpx
    from prefect import get_client
    from prefect.flow_engine import run_flow
    from snowflake.connector.cursor import SnowflakeCursor

    from cli.console import prefect_at
    from flows.run_sales_pipeline import run_sales_pipeline
    from tasks import dbt_build, dbt_nodes, landing

    watch = _Watch(journal, moment)
    watch.patch(SnowflakeCursor, "execute", lambda _self, sql, *_a, **_k: " ".join(str(sql).split()))
    watch.patch(SnowflakeCursor, "executemany", lambda _self, sql, *_a, **_k: " ".join(str(sql).split()))
    watch.patch(httpx.AsyncClient, "send", lambda _self, request, **_k: f"http {request.url}")
    watch.patch(landing, "upload", lambda _storage, _local, path: f"store {path}")
    watch.patch(landing, "delete", lambda _storage, path: f"clear {path}")
    watch.patch(dbt_build, "worker_command", lambda *_a, **_k: "dbt build")
    watch.patch(dbt_nodes.NodeRuns, "_start", lambda _self, node: f"dbt node {node['node_name']}")
    watch.patch(dbt_build, "share_parsed", lambda *_a: "dbt done")
    with prefect_at(settings):
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(UUID(run_id))
        run_flow(run_sales_pipeline, flow_run=flow_run)


class _Watch:
    def __init__(self, journal: Path, moment: str | None) -> None:
        self.journal = journal.open("a", buffering=1)
        self.when, _, self.what = (moment or "never ").partition(" ")

    def patch(self, owner: Any, name: str, tell: Callable[..., str]) -> None:
        """Watch a function; `tell` says in words what a call of it does."""
        inner = getattr(owner, name)

        @wraps(inner)
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self._noted(tell(*args, **kwargs)):
                return inner(*args, **kwargs)

        @wraps(inner)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with self._noted(tell(*args, **kwargs)):
                return await inner(*args, **kwargs)

        setattr(owner, name, awaited if name == "send" else watched)

    @contextmanager
    def _noted(self, effect: str) -> Any:
        is_doom = re.search(self.what, effect, re.IGNORECASE) if self.what else None
        if is_doom and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        self.journal.write(effect + "\n")
        if is_doom and self.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
