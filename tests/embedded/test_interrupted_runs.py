"""One run, killed without warning at every step in turn and run again each time, does each thing once.

The same flow run is killed at the first moment below, run again until the second, and so on to its end; so each
attempt goes on with what all attempts before it have left.
"""

import json
import multiprocessing
import re
import signal
import time
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId
from prefect.states import AwaitingRetry, Crashed, Pending

from streaming.generator import write_store_files
from tasks.publish import table_states
from tests.embedded.doomed_run import run_until

SECONDS = 120
# Imported once, in the process from which each attempt is forked.
PRELOADED = ["tests.embedded.doomed_run", "great_expectations", "flows.run_sales_pipeline", "cli.console"]
MOMENTS = [
    "after store store_sales/[0-9a-f]{16}/",  # in raw storage, and nobody knows
    "after store store_sales/_manifests",
    "after merge into MONITORING.LANDED_FILES",  # landed, and still in the drop
    "after clear store_sales/",
    "before http .*runs/submit",
    "after http .*runs/submit",  # Spark goes on alone
    "before begin",  # Spark has ended, the load has not begun
    "after copy into RAW.SALES_BATCH_RAW",
    "before commit",
    "after commit",  # loaded, and the run does not know
    "after create or replace view MONITORING.judged_",
    "after insert into MONITORING.VALIDATION_RESULTS",  # RAW is judged
    "after dbt node stg_",  # in the middle of the build
    "before create or replace view MONITORING.judged_",  # built
    "after insert into MONITORING.VALIDATION_RESULTS",  # the candidates are judged
    "after create or replace schema .*MARTS_PUBLICATION_",  # frozen
    "after insert into MONITORING.PUBLICATIONS",  # noted, and readers see the old
    "after create or replace schema .*[.]MARTS clone",  # readers see the new
    "after update MONITORING.PUBLICATIONS set shown_at",
    "after insert into MONITORING.PIPELINE_RUNS",
]


# Where a loaded file leaves rows, and the column that names it.
TRACES = {
    "RAW.SALES_BATCH_RAW": "file_name",
    "RAW.SALES_QUARANTINE": "file_name",
    "MONITORING.LOAD_AUDIT": "unit_name",
    "MONITORING.LANDED_FILES": "file_name",
}


@pytest.fixture(scope="module")
def story(pipeline, tmp_path_factory):
    """Kill a run at each moment; give its id, its truth and what each attempt did outside, the last to the end."""
    folder = tmp_path_factory.mktemp("interrupted")
    truths = write_store_files(folder, seed=71, files=1, rows=60)
    (name,) = truths
    (folder / name).rename(pipeline.drop("store_sales") / f"interrupted-{name}")
    run_id, attempts = new_run({"feed": "store_sales", "settle_seconds": 0}), []
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(PRELOADED)
    for number, moment in enumerate([*MOMENTS, None]):
        journal = folder / f"{number}.txt"
        began = time.monotonic()
        process = processes.Process(target=run_until, args=(pipeline.settings, run_id, journal, moment))
        process.start()
        process.join(SECONDS)
        assert process.exitcode == (-signal.SIGKILL if moment else 0), (moment, process.exitcode)
        print(f"{time.monotonic() - began:5.1f} s  {moment}")
        attempts.append(journal.read_text().splitlines())
        if moment:
            run_again(run_id)
    yield run_id, truths[name], attempts
    withdraw(pipeline, f"interrupted-{name}")


def withdraw(pipeline, file_name):
    """Take the file's rows out again: other modules count all that their feed has."""
    with pipeline.warehouse.session(query_tag="test") as connection, connection.cursor() as cursor:
        for table, column in TRACES.items():
            cursor.execute(f"delete from {table} where {column} = %s", (file_name,))
    pipeline.run("store_sales", rebuild=True)


def new_run(parameters):
    from flows.run_sales_pipeline import run_sales_pipeline

    with get_client(sync_client=True) as client:
        return str(client.create_flow_run(run_sales_pipeline, parameters=parameters, state=Pending()).id)


def run_again(run_id):
    """Do to the run what `prefect flow-run retry` does to one that has crashed."""
    with get_client(sync_client=True) as client:
        for state in (Crashed(message="killed by a test"), AwaitingRetry(), Pending()):
            client.set_flow_run_state(UUID(run_id), state, force=True)


def test_it_ends_completed_and_says_so(pipeline, story):
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(UUID(story[0])).state.is_completed()
    rows = pipeline.warehouse.rows(
        "select status from MONITORING.PIPELINE_RUNS where run_id = %s", (story[0],)
    )
    assert [row["status"] for row in rows] == ["completed"]


def test_each_row_is_loaded_once(pipeline, story):
    truth = story[1]
    rows = pipeline.warehouse.rows(
        "select rows_read, rows_loaded, rows_quarantined, "
        "(select count(*) from RAW.SALES_BATCH_RAW where batch_id = load_id) as raw "
        "from MONITORING.LOAD_AUDIT where startswith(unit_name, 'interrupted-')"
    )
    expected = (truth.rows_read, truth.rows_valid, truth.rows_quarantined, truth.rows_valid)
    assert [tuple(row.values()) for row in rows] == [expected]


def test_spark_ran_once(pipeline, story):
    (load_id,) = [
        row["load_id"]
        for row in pipeline.warehouse.rows(
            "select load_id from MONITORING.LOAD_AUDIT where startswith(unit_name, 'interrupted-')"
        )
    ]
    runs = [
        json.loads(file.read_text())["run"] for file in (pipeline.home / "databricks/runs").glob("*/run.json")
    ]
    assert [run["state"]["result_state"] for run in runs if run["run_name"] == f"sales-batch {load_id}"] == [
        "SUCCESS"
    ]


# What is done at an attempt, and what no later attempt may do again. Numbers are those of MOMENTS.
DONE = {
    "store store_sales/[0-9a-f]{16}/": "after store store_sales/[0-9a-f]{16}/",
    "clear store_sales/": "after clear store_sales/",
    "http .*runs/submit": "before begin",
    "copy into": "after commit",
    "insert into MONITORING.LOAD_AUDIT .*'file'": "after commit",
    "dbt build": "before create or replace view MONITORING.judged_",
    "MARTS_PUBLICATION_[^ ]* clone": "after insert into MONITORING.PUBLICATIONS",
    "insert into MONITORING.PUBLICATIONS": "after insert into MONITORING.PUBLICATIONS",
    "[.]MARTS clone": "after update MONITORING.PUBLICATIONS set shown_at",
}


@pytest.mark.parametrize("effect", DONE)
def test_what_is_done_is_not_done_again(story, effect):
    done = MOMENTS.index(DONE[effect])
    times = [sum(bool(re.search(effect, line, re.I)) for line in lines) for lines in story[2]]
    assert sum(times[: done + 1]) > 0, times
    assert times[done + 1 :] == [0] * len(times[done + 1 :]), times


def test_answers_of_earlier_attempts_are_shown_as_cached(story):
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(
            task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[UUID(story[0])])),
            limit=200,
        )
    cached = {re.sub("-[0-9a-f]{3}$", "", run.name) for run in runs if run.state.name == "Cached"}
    assert cached == {"check raw", "build models with dbt", "check marts_candidate"}


def test_the_marts_are_those_of_an_undisturbed_run(pipeline, story):
    interrupted = table_states(pipeline.warehouse, "MARTS")
    pipeline.run("store_sales", rebuild=True)
    assert table_states(pipeline.warehouse, "MARTS") == interrupted
    assert interrupted["fct_sales"].rows > 0
