"""How a batch's Databricks run is waited for: storms, restarts, cancellation, failures, refused tokens."""

import asyncio
import logging
import time

import httpx
import pytest
from prefect_databricks import DatabricksCredentials
from prefect_databricks.jobs import jobs_runs_get, jobs_runs_list

from blocks.databricks import DatabricksCluster
from blocks.errors import WillNotHeal
from tasks.databricks import run_to_the_end

TOKEN = "dapi-for-tests"
LOG = logging.getLogger("test")
CLUSTER = DatabricksCluster(poll_seconds=0.1, timeout_seconds=60)


@pytest.fixture(scope="module")
def service(start_service, tmp_path_factory):
    token_file = tmp_path_factory.mktemp("token") / "token"
    token_file.write_text(TOKEN)
    return start_service("databricks", "--token-file", str(token_file))


@pytest.fixture
def credentials(service):
    return DatabricksCredentials(
        databricks_instance=f"127.0.0.1:{service.facts['port']}",
        token=TOKEN,
        client_kwargs={"verify": service.facts["ca"]},
    )


def submission(folder, script: str, token: str) -> dict:
    path = folder / f"{token}.py"
    path.write_text(script)
    task = {"task_key": "batch", "spark_python_task": {"python_file": path.as_uri(), "parameters": []}}
    return {"run_name": token, "idempotency_token": token, "timeout_seconds": 60, "tasks": [task]}


def runs_named(credentials, name: str) -> list[dict]:
    answer = asyncio.run(jobs_runs_list.fn(databricks_credentials=credentials))
    return [run for run in answer["runs"] if run["run_name"] == name]


def storm(service, *statuses: int) -> None:
    url = f"{service.facts['url']}/_standin/faults"
    httpx.post(url, json=list(statuses), verify=service.facts["ca"]).raise_for_status()


def test_a_run_that_succeeds_is_told_with_its_page(credentials, tmp_path):
    run = asyncio.run(run_to_the_end(credentials, CLUSTER, submission(tmp_path, "print(1)", "good"), LOG))
    assert str(run.run_id) in run.page


def test_a_storm_of_429_and_503_starts_no_second_run(service, credentials, tmp_path):
    storm(service, 429, 503, 429, 500)
    asyncio.run(run_to_the_end(credentials, CLUSTER, submission(tmp_path, "print(1)", "storm"), LOG))
    assert len(runs_named(credentials, "storm")) == 1


def test_a_second_worker_finds_the_run_of_the_first(credentials, tmp_path):
    order = submission(tmp_path, "import time; time.sleep(1)", "twice")

    async def both():
        return await asyncio.gather(*(run_to_the_end(credentials, CLUSTER, order, LOG) for _ in range(2)))

    first, second = asyncio.run(both())
    assert first == second
    assert len(runs_named(credentials, "twice")) == 1


def test_a_failed_job_tells_its_own_error_and_may_be_run_again(credentials, tmp_path, caplog):
    order = submission(tmp_path, "print('reading')\nraise ValueError('no such column: qty')", "bad")
    with caplog.at_level(logging.INFO), pytest.raises(WillNotHeal, match="no such column: qty"):
        asyncio.run(run_to_the_end(credentials, CLUSTER, order, LOG))
    assert "spark: reading" in caplog.messages
    assert any("Traceback (most recent call last)" in message for message in caplog.messages)
    mended = submission(tmp_path, "print('mended')", "bad")
    asyncio.run(run_to_the_end(credentials, CLUSTER, mended, LOG))
    assert sorted(run["state"]["result_state"] for run in runs_named(credentials, "bad")) == [
        "FAILED",
        "SUCCESS",
    ]


def test_a_run_that_takes_too_long_is_cancelled_and_says_what_to_do(credentials, tmp_path):
    order = submission(tmp_path, "import time; time.sleep(300)", "slow")
    impatient = CLUSTER.model_copy(update={"timeout_seconds": 1})
    with pytest.raises(WillNotHeal, match=r"did not finish in 1 s and was cancelled.*timeout_seconds"):
        asyncio.run(run_to_the_end(credentials, impatient, order, LOG))
    assert ended(credentials, "slow") == "CANCELED"


def ended(credentials, name: str) -> str:
    """Wait until the one run of this name has ended; give its result."""
    (run,) = runs_named(credentials, name)
    deadline = time.monotonic() + 10
    while run["state"]["life_cycle_state"] != "TERMINATED":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        run = asyncio.run(jobs_runs_get.fn(databricks_credentials=credentials, run_id=run["run_id"]))
    return run["state"]["result_state"]


def test_ending_the_wait_cancels_the_remote_run(credentials, tmp_path):
    order = submission(tmp_path, "import time; time.sleep(300)", "cancelled")

    async def give_up():
        waiting = asyncio.create_task(run_to_the_end(credentials, CLUSTER, order, LOG))
        await asyncio.sleep(1.5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(give_up())
    assert ended(credentials, "cancelled") == "CANCELED"


def test_a_refused_token_fails_at_once(credentials, tmp_path):
    wrong = credentials.model_copy(update={"token": type(credentials.token)("wrong")})
    began = time.monotonic()
    with pytest.raises(WillNotHeal, match=r"refuses the login \(403\).*sales-databricks"):
        asyncio.run(run_to_the_end(wrong, CLUSTER, submission(tmp_path, "print(1)", "refused"), LOG))
    assert time.monotonic() - began < 10
