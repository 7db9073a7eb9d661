"""Building by dbt, on a project of a few nodes: what Prefect shows, what a retry runs, what holds a build back."""

import gzip
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun
from prefect.runtime import flow_run

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT
from tasks import dbt_build

PLANTED_SECRET = "planted-snowflake-password"
MINI = {
    "dbt_project.yml": """
        name: mini
        profile: sales
        flags: {send_anonymous_usage_stats: false}
        models: {mini: {+schema: DBT_MINI}}
    """,
    "models/base.sql": """
        select 'k' || column1 as line_key, 'person ' || column1 as person, column1 as quantity
        from values (1), (2), (3), (4), (5), (6), (7)
    """,
    "models/side.sql": "select 1 as n",
    "models/schema.yml": """
        sources:
          - name: mini
            database: SALES_DW
            schema: DBT_MINI_RAW
            tables:
              - name: loads
                config: {loaded_at_field: loaded_at, freshness: {error_after: {count: 1, period: day}}}
              - name: events
                config: {loaded_at_field: loaded_at, freshness: {error_after: {count: 1, period: day}}}
    """,
}
# The first attempt leaves a mark and meets a lost connection; the next one finds the mark.
HEALING = """
    {% if execute and load_relation(api.Relation.create('SALES_DW', 'DBT_MINI_RAW', 'MARK')) is none %}
    {% do run_query('create table SALES_DW.DBT_MINI_RAW.MARK as select 1 as n') %}
    {{ exceptions.raise_compiler_error('250003 (08006): Connection reset by peer') }}
    {% endif %}
    select * from {{ ref('base') }}
"""


@pytest.fixture
def mini(pipeline, tmp_path, monkeypatch):
    """Give a function that writes a project with more files and builds it by the real task, in a flow."""
    project = tmp_path / "dbt"
    warehouse = pipeline.warehouse
    run_all(
        warehouse,
        "drop schema if exists DBT_MINI_RAW cascade",
        "create schema DBT_MINI_RAW",
        "create table DBT_MINI_RAW.LOADS (loaded_at timestamp_ntz)",
        "create table DBT_MINI_RAW.EVENTS (loaded_at timestamp_ntz)",
    )
    monkeypatch.setattr(dbt_build, "DBT_FOLDER", project)
    monkeypatch.setattr(dbt_build.tempfile, "gettempdir", lambda: str(tmp_path))

    def build(files: dict[str, str], **parameters: Any) -> SimpleNamespace:
        for name, text in {**MINI, **files}.items():
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        (project / "profiles.yml").write_text((PROJECT / "dbt/profiles.yml").read_text())
        build.seen = seen = SimpleNamespace(id=None, result=None, error=None)  # type: ignore[attr-defined]

        @flow(name="mini")
        def run():
            seen.id = flow_run.id
            quick = dbt_build.build_models.with_options(retry_delay_seconds=0)
            return quick(**parameters)

        try:
            seen.result = run()
        except WillNotHeal as error:
            seen.error = str(error)
        seen.nodes = nodes(seen.id)
        seen.kept = pipeline.home / "storage/processed/dbt" / str(seen.id)
        return seen

    return build


def run_all(warehouse: Any, *statements: str) -> None:
    with warehouse.session() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def nodes(run_id: Any) -> dict[str, TaskRun]:
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
    return {run.name: run for run in runs if not run.name.startswith("build models")}


def states(seen: SimpleNamespace) -> dict[str, str]:
    return {name: run.state_name for name, run in seen.nodes.items()}


def kept_results(seen: SimpleNamespace, name: str) -> dict[str, str]:
    results = json.loads(gzip.decompress((seen.kept / name).read_bytes()))["results"]
    return {result["unique_id"]: result["status"] for result in results}


def test_a_failed_test_is_told_with_rows_and_keys_and_stops_what_follows(mini):
    seen = mini(
        {
            "models/after.sql": "select * from {{ ref('base') }}",
            "tests/no_line_is_left.sql": "select * from {{ ref('base') }}",
        }
    )
    assert "no_line_is_left (fail, 7 rows): Got 7 results" in seen.error
    assert "line_key=k1, quantity=1" in seen.error
    assert seen.error.count("line_key=") == 5
    assert "person" not in seen.error
    assert states(seen) == {
        "model base": "Completed",
        "model side": "Completed",
        "test no_line_is_left": "Failed",
        "model after": "Skipped",
    }
    failed = seen.nodes["test no_line_is_left"]
    assert [r.id for r in failed.task_inputs["depends_on"]] == [seen.nodes["model base"].id]
    assert "FAIL 7 no_line_is_left" in failed.state.message
    assert kept_results(seen, "run_results.json.gz")["test.mini.no_line_is_left"] == "fail"
    assert not (seen.kept / "run_results.2.json.gz").exists()


def test_a_retry_runs_only_what_failed_and_what_follows_it(mini, monkeypatch):
    given = dbt_build.dbt_environment
    monkeypatch.setattr(
        dbt_build, "dbt_environment", lambda w: given(w) | {"SALES_DBT_PASSWORD": PLANTED_SECRET}
    )
    seen = mini({"models/healing.sql": HEALING, "models/after.sql": "select * from {{ ref('healing') }}"})
    assert seen.error is None
    assert seen.result.statuses == {"success": 4}
    assert kept_results(seen, "run_results.json.gz") == {
        "model.mini.base": "success",
        "model.mini.side": "success",
        "model.mini.healing": "error",
        "model.mini.after": "skipped",
    }
    assert kept_results(seen, "run_results.2.json.gz") == {
        "model.mini.healing": "success",
        "model.mini.after": "success",
    }
    assert states(seen) == dict.fromkeys(
        ["model base", "model side", "model healing", "model after"], "Completed"
    )
    assert seen.nodes["model healing"].run_count == 2
    assert seen.nodes["model base"].run_count == 1
    expected = {"manifest.json.gz", "run_results.json.gz", "run_results.2.json.gz", "docs.html"}
    assert expected <= {path.name for path in seen.kept.iterdir()}
    for path in seen.kept.iterdir():
        content = path.read_bytes()
        assert PLANTED_SECRET.encode() not in (gzip.decompress(content) if path.suffix == ".gz" else content)


OLD, NEW = "dateadd(day, -2, sysdate())", "sysdate()"


def test_freshness_holds_a_build_back_only_where_everything_is_old(mini, pipeline):
    empty = mini({})
    assert [s.status for s in empty.result.sources] == ["empty", "empty"]
    run_all(pipeline.warehouse, f"insert into DBT_MINI_RAW.LOADS select {OLD}")
    old = mini({})
    assert old.error.startswith("Stale sources: mini.loads: error, newest row 48 h old, error after 1 days.")
    assert states(old) == {}
    run_all(pipeline.warehouse, f"insert into DBT_MINI_RAW.EVENTS select {NEW}")
    assert {s.source: s.status for s in mini({}).result.sources} == {
        "mini.loads": "error",
        "mini.events": "pass",
    }
    assert mini({}, require_fresh="all").error.startswith("Stale sources: mini.loads")


def test_a_build_that_is_ended_leaves_no_process_and_no_running_node(mini, tmp_path):
    """What interrupts the wait for dbt ends its whole group; the node that ran is shown as crashed."""
    slow = "select count(*) as n from table(generator(rowcount => 400000)) a, table(generator(rowcount => 400000)) b"
    waited = []

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not waited:
            for group in workers(tmp_path):
                if any(tmp_path.glob("sales-dbt-*/run/mini/models/slow.sql")):
                    waited.append(group)
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        mini({"models/slow.sql": "{{ config(materialized='table') }} " + slow})
    thread.join()
    assert len(waited) == 1
    assert workers(tmp_path) == []
    assert list(tmp_path.glob("sales-dbt-*")) == []
    assert nodes(mini.seen.id)["model slow"].state_name == "Crashed"


def workers(folder: Path) -> list[int]:
    """List the processes that build below this folder."""
    found = subprocess.run(
        ["pgrep", "-f", f"tasks.dbt_worker.*{folder}"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]
