"""A worker runs every deployment to its end; the main flow gives the same marts as when it runs in this process."""

import json
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelling

from cli.verify import run_to_the_end
from local.worker import working
from streaming.generator import write_store_files
from tasks.deployments import apply_deployments, declared_deployments
from tasks.publish import table_states
from tasks.work_pool import create_work_pool, has_worker, read_work_pool

SECONDS = 240


@pytest.fixture(scope="module")
def worker(pipeline):
    settings = pipeline.settings
    if read_work_pool(settings.work_pool) is None:
        create_work_pool(settings.work_pool, settings.work_pool_type)
    apply_deployments(settings)
    log = pipeline.home / "logs" / "worker.log"
    with working(settings.work_pool, settings.prefect_api_url, log) as process:
        yield process
    assert process.returncode in (0, -signal.SIGINT), log.read_text()[-2000:]


@pytest.fixture(scope="module")
def first_run(worker, pipeline, tmp_path_factory):
    """One file of store sales, published through the deployment of the main flow; its name and its counts."""
    folder = tmp_path_factory.mktemp("deployed")
    ((name, truth),) = write_store_files(folder, seed=31, files=1, rows=300).items()
    shutil.copy(folder / name, pipeline.drop("store_sales") / f"deployed-{name}")
    parameters = {"feed": "store_sales", "settle_seconds": 0}
    run_to_the_end("run-sales-pipeline/embedded", parameters, SECONDS)
    return f"deployed-{name}", truth


def test_the_main_flow_gives_the_same_marts_through_a_deployment(first_run, pipeline):
    name, truth = first_run
    deployed = table_states(pipeline.warehouse, "MARTS")
    loaded = pipeline.warehouse.rows(
        f"select rows_loaded from MONITORING.LOAD_AUDIT where unit_name = '{name}'"
    )
    assert [row["rows_loaded"] for row in loaded] == [truth.rows_valid]
    pipeline.run("store_sales", rebuild=True)
    assert table_states(pipeline.warehouse, "MARTS") == deployed


def test_a_worker_runs_every_other_deployment_to_completed(first_run, pipeline):
    """Side by side, as a worker does it; what a flow cannot do without is given here."""
    given = {
        "replay-quarantine": {"feed": "europe_marketplace"},
        "backfill-sales": {"feed": "store_sales", "from_date": "2020-01-01", "to_date": "2100-01-01"},
    }
    others = [
        name for name in declared_deployments(pipeline.settings) if name != "run-sales-pipeline/embedded"
    ]
    with ThreadPoolExecutor(4) as pool:
        runs = {
            name: pool.submit(
                copy_context().run, run_to_the_end, name, given.get(name.partition("/")[0], {}), SECONDS
            )
            for name in others
        }
    assert {name: run.result().state.name for name, run in runs.items()} == dict.fromkeys(others, "Completed")
    assert has_worker("sales")


def spark_states(pipeline):
    """Give (life cycle state, result state) of every Databricks run, by its id."""
    records = [
        json.loads(file.read_text())["run"] for file in (pipeline.home / "databricks/runs").glob("*/run.json")
    ]
    return {
        run["run_id"]: (run["state"]["life_cycle_state"], run["state"].get("result_state")) for run in records
    }


def until(seconds, is_so):
    """Wait for what is to come about; give the seconds that took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, "it did not come about in time"
        time.sleep(0.2)
    return time.monotonic() - began


def test_cancelling_a_run_cancels_its_spark_run(worker, pipeline, tmp_path):
    truths = write_store_files(tmp_path, seed=32, files=1, rows=50)
    (name,) = truths
    shutil.copy(tmp_path / name, pipeline.drop("store_sales") / f"cancelled-{name}")
    before = spark_states(pipeline)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("run-sales-pipeline/embedded")
        parameters = {"feed": "store_sales", "settle_seconds": 0}
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)

        def new_states():
            return [state for number, state in spark_states(pipeline).items() if number not in before]

        until(SECONDS, lambda: new_states() == [("RUNNING", None)])
        client.set_flow_run_state(run.id, Cancelling(), force=True)
        seconds = until(30, lambda: new_states() == [("TERMINATED", "CANCELED")])
        print(f"the Spark run was cancelled after {seconds:.1f} s")
        until(30, lambda: client.read_flow_run(run.id).state.is_cancelled())
    # Nothing is lost: the file waits for the next run.
    rows = pipeline.warehouse.rows(
        f"select count(*) as n from MONITORING.LANDED_FILES where file_name = 'cancelled-{name}'"
    )
    assert rows[0]["n"] == 1
