"""The Databricks stand-in under the unmodified client of prefect-databricks, and what its runs go through."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect_databricks import DatabricksCredentials
from prefect_databricks.jobs import (
    jobs_runs_cancel,
    jobs_runs_get,
    jobs_runs_get_output,
    jobs_runs_list,
    jobs_runs_submit,
)

from blocks.feeds import JOBS, job_spec, load_contract, load_feed

TOKEN = "dapi-for-tests"
ENDED = ("TERMINATED", "INTERNAL_ERROR")
# A script that starts a child and then waits, as a driver waits for its JVM.
SLEEPER = "import subprocess, time\nsubprocess.Popen(['sleep', '300'])\nprint('started', flush=True)\ntime.sleep(300)\n"


class Client:
    """prefect-databricks at one stand-in, called as its tasks call it."""

    def __init__(self, service: Any, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.credentials = self.with_token(TOKEN)

    def with_token(self, token: str) -> DatabricksCredentials:
        return DatabricksCredentials(
            databricks_instance=f"127.0.0.1:{self.service.facts['port']}",
            token=token,
            client_kwargs={"verify": self.service.facts["ca"]},
        )

    def call(self, function: Any, **arguments: Any) -> Any:
        return asyncio.run(function.fn(**{"databricks_credentials": self.credentials, **arguments}))

    def submit(
        self, script: str | Path, *parameters: str, task: dict[str, Any] | None = None, **order: Any
    ) -> int:
        if isinstance(script, str):
            name = self.folder / f"script {hash(script)}.py"
            name.write_text(script)
            script = name
        python = {"python_file": script.as_uri(), "parameters": list(parameters)}
        tasks = [{"task_key": "batch", "spark_python_task": python, **(task or {})}]
        return self.call(jobs_runs_submit, run_name="test", tasks=tasks, **order)["run_id"]

    def get(self, run_id: int) -> dict[str, Any]:
        return self.call(jobs_runs_get, run_id=run_id)

    def output(self, run_id: int) -> dict[str, Any]:
        return self.call(jobs_runs_get_output, run_id=run_id)

    def until(self, run_id: int, *states: str, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (run := self.get(run_id))["state"]["life_cycle_state"] not in (states or ENDED):
            assert time.monotonic() < deadline, run
            time.sleep(0.05)
        return run

    def started(self, run_id: int) -> dict[str, Any]:
        """Wait until the sleeper has started its child."""
        while "started" not in self.output(run_id)["logs"]:
            time.sleep(0.02)
        return self.get(run_id)


def state(run: dict[str, Any]) -> tuple[str, str | None]:
    return run["state"]["life_cycle_state"], run["state"].get("result_state")


def processes_of(service: Any) -> list[psutil.Process]:
    """List what runs in the folders of the service's runs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != "zombie" and str(service.home / "runs") in process.cwd():
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone(service: Any, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while processes_of(service) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes_of(service)


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture(scope="module")
def client(
    start_service: Callable[..., Any], token_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Client:
    return Client(
        start_service("databricks", "--token-file", str(token_file)), tmp_path_factory.mktemp("scripts")
    )


def test_a_run_succeeds_with_its_logs(client):
    run_id = client.submit("import sys; print('hello', sys.argv[1:])", "--spec", "a b")
    run = client.until(run_id)
    assert state(run) == ("TERMINATED", "SUCCESS")
    assert [state(task) for task in run["tasks"]] == [("TERMINATED", "SUCCESS")]
    assert run["end_time"] >= run["start_time"] > 1_700_000_000_000
    output = client.output(run["tasks"][0]["run_id"])
    assert output["logs"] == "hello ['--spec', 'a b']\n"
    assert "error" not in output
    page = httpx.get(run["run_page_url"], verify=client.service.facts["ca"])
    assert "hello ['--spec', 'a b']" in page.text


def test_a_failed_run_tells_its_error_and_trace(client):
    run = client.until(client.submit("print('before')\nraise ValueError('the header lacks quantity')"))
    assert state(run) == ("TERMINATED", "FAILED")
    assert run["state"]["state_message"].startswith("Task batch failed with message: Workload failed")
    output = client.output(run["tasks"][0]["run_id"])
    assert output["error"] == "ValueError: the header lacks quantity"
    assert output["error_trace"].startswith("Traceback (most recent call last)")
    assert output["logs"] == "before\n"
    silent = client.until(client.submit("import os; os._exit(3)"))
    assert client.output(silent["run_id"])["error"] == "The script ended with code 3."
    missing = client.until(client.submit(client.folder / "no such.py"))
    assert state(missing) == ("INTERNAL_ERROR", "FAILED")
    assert "no%20such.py" in client.output(missing["run_id"])["error"]


def test_a_known_idempotency_token_finds_its_run(client):
    first = client.submit("print(1)", idempotency_token="t" * 64)
    assert client.submit("print(2)", idempotency_token="t" * 64) == first
    assert client.submit("print(2)", idempotency_token="other") != first
    failed = client.submit("raise SystemExit(1)", idempotency_token="bad")
    client.until(failed)
    assert client.submit("print(3)", idempotency_token="bad") == failed


@pytest.mark.parametrize("limited", ["run", "task"])
def test_a_run_that_takes_too_long_is_ended_with_its_processes(client, limited):
    limit = {"timeout_seconds": 1}
    run_id = client.submit(SLEEPER, **limit) if limited == "run" else client.submit(SLEEPER, task=limit)
    run = client.until(run_id)
    assert state(run) == state(run["tasks"][0]) == ("TERMINATED", "TIMEDOUT")
    assert gone(client.service)


def test_a_cancelled_run_is_ended_with_its_processes_and_the_next_one_goes(client):
    going = client.submit(SLEEPER)
    waiting = client.submit("print('next')")
    dropped = client.submit("print('never')")
    client.started(going)
    assert len(processes_of(client.service)) == 2
    assert state(client.get(waiting))[0] == "PENDING"
    listed = client.call(jobs_runs_list, active_only=True)["runs"]
    assert [run["run_id"] for run in listed] == [dropped, waiting, going]
    client.call(jobs_runs_cancel, run_id=dropped)
    client.call(jobs_runs_cancel, run_id=going)
    assert state(client.until(going)) == ("TERMINATED", "CANCELED")
    assert state(client.until(dropped)) == ("TERMINATED", "CANCELED")
    assert state(client.until(waiting)) == ("TERMINATED", "SUCCESS")
    assert client.output(dropped)["logs"] == ""
    assert gone(client.service)
    page = client.call(jobs_runs_list, limit=1, completed_only=True)
    assert ([run["run_id"] for run in page["runs"]], page["has_more"]) == ([dropped], True)


def test_tasks_go_in_order_and_stop_where_one_fails(client):
    bad, good = client.folder / "bad.py", client.folder / "good.py"
    bad.write_text("raise SystemExit('no')")
    good.write_text("print('ran')")
    tasks = [
        {"task_key": "a", "spark_python_task": {"python_file": good.as_uri()}},
        {
            "task_key": "b",
            "spark_python_task": {"python_file": bad.as_uri()},
            "depends_on": [{"task_key": "a"}],
        },
        {
            "task_key": "c",
            "spark_python_task": {"python_file": good.as_uri()},
            "depends_on": [{"task_key": "b"}],
        },
    ]
    run = client.until(client.call(jobs_runs_submit, tasks=tasks)["run_id"])
    assert [task["state"]["result_state"] for task in run["tasks"]] == [
        "SUCCESS",
        "FAILED",
        "UPSTREAM_FAILED",
    ]
    assert state(run) == ("TERMINATED", "FAILED")
    with pytest.raises(httpx.HTTPStatusError, match="INVALID_PARAMETER_VALUE"):
        client.output(run["run_id"])


def home_of(folder: Path) -> Path:
    (folder / "home").mkdir()
    return folder / "home"


def refusal(client: Client, path: str, body: Any = None, token: str | None = TOKEN) -> tuple[int, Any, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{client.service.facts['url']}/api/2.1/jobs/runs/{path}"
    with httpx.Client(verify=client.service.facts["ca"], headers=headers) as http:
        answer = http.get(url) if body is None else http.post(url, content=body)
    return answer.status_code, answer.json()["error_code"], answer.json()["message"]


def test_refusals_have_the_real_shape(client):
    assert refusal(client, "get?run_id=1", token=None)[:2] == (401, 401)
    assert refusal(client, "get?run_id=1", token="dapi-wrong") == (403, 403, "Invalid access token.")
    wrong = "INVALID_PARAMETER_VALUE"
    assert refusal(client, "get?run_id=1") == (400, wrong, "Run 1 does not exist.")
    assert refusal(client, "get?run_id=x") == (400, wrong, "Invalid run_id: x")
    assert refusal(client, "submit", "{")[:2] == (400, "MALFORMED_REQUEST")
    assert refusal(client, "submit", "{}") == (400, wrong, "At least one task must be specified.")
    python = {"python_file": "file:///a.py"}
    for order, said in [
        (
            {"tasks": [{"task_key": "a", "spark_python_task": python}], "idempotency_token": "x" * 65},
            "at most 64",
        ),
        ({"tasks": [{"task_key": "a", "spark_python_task": python}] * 2}, "present and unique"),
        ({"tasks": [{"task_key": "a", "notebook_task": {}}]}, "spark_python_task only"),
        (
            {"tasks": [{"task_key": "a", "spark_python_task": {"python_file": "dbfs:/a.py"}}]},
            "file:// and s3://",
        ),
    ]:
        status, code, message = refusal(client, "submit", json.dumps(order))
        assert (status, code) == (400, wrong)
        assert said in message
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        client.call(jobs_runs_get, run_id=1, databricks_credentials=client.with_token("dapi-wrong"))


def test_injected_faults_hit_the_next_calls(client):
    run_id = client.submit("print(1)")
    url = f"{client.service.facts['url']}/_standin/faults"
    httpx.post(url, json=[503, 429], verify=client.service.facts["ca"]).raise_for_status()
    for status in ("503", "429"):
        with pytest.raises(httpx.HTTPStatusError, match=status):
            client.get(run_id)
    assert state(client.until(run_id)) == ("TERMINATED", "SUCCESS")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_runs_outlive_the_service(start_service, token_file, tmp_path, how):
    service = start_service("databricks", "--token-file", str(token_file), home=home_of(tmp_path))
    client = Client(service, tmp_path)
    done = client.submit("print('kept')", idempotency_token="done")
    client.until(done)
    lost = client.submit(SLEEPER, idempotency_token="lost")
    client.started(lost)
    began = time.monotonic()
    if how == "stop":
        assert service.stop() in (0, -signal.SIGTERM)  # uvicorn ends by the signal it was stopped with
        assert time.monotonic() - began < 5
        assert not processes_of(service)
    else:
        service.kill()
        assert len(processes_of(service)) == 2
    service.start()
    assert not processes_of(service)
    again = Client(service, tmp_path)
    assert service.facts["ca"] == client.service.facts["ca"]
    assert state(again.get(done)) == ("TERMINATED", "SUCCESS")
    assert again.output(done)["logs"] == "kept\n"
    assert state(again.get(lost)) == ("INTERNAL_ERROR", "FAILED")
    assert "service stopped" in again.get(lost)["state"]["state_message"]
    assert again.submit("print(1)", idempotency_token="lost") == lost
    assert again.submit("print(1)") > lost
    service.stop()


def test_a_run_sees_nothing_of_its_callers_environment_or_folder(
    start_service, token_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("SALES_SNOWFLAKE_PASSWORD", "secret")
    service = start_service("databricks", "--token-file", str(token_file), home=home_of(tmp_path))
    client = Client(service, tmp_path)
    run = client.until(client.submit("import os; print(sorted(os.environ)); print(os.getcwd())"))
    names, folder = client.output(run["run_id"])["logs"].splitlines()
    assert "SALES_SNOWFLAKE_PASSWORD" not in names
    assert "JAVA_HOME" in names
    assert folder == str(tmp_path / "home" / "runs" / str(run["run_id"]))
    service.stop()


def test_after_the_first_spark_run_the_next_ones_have_a_class_archive(client, tmp_path):
    home = client.service.home
    assert not list(home.glob("*.jsa"))
    client.submit("import pyspark")
    deadline = time.monotonic() + 300
    while not list(home.glob("*.jsa")) and time.monotonic() < deadline:
        time.sleep(0.2)
    (archive,) = home.glob("*.jsa")
    assert archive.stat().st_size > 50_000_000
    header = ",".join(load_feed("store_sales").columns)
    source = tmp_path / "store_sales.csv"
    source.write_text(
        f"{header}\nA1,1,P1,,,,,Spain,2,9.99,EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z\nbroken\n"
    )
    files = [{"uri": source.as_uri(), "name": source.name, "checksum": "c"}]
    output = tmp_path / "out"
    spec = tmp_path / "spec.json"
    spec.write_text(
        json.dumps(job_spec(load_feed("store_sales"), load_contract(), "b1", files, output.as_uri()))
    )
    cluster = {"new_cluster": {"num_workers": 0, "spark_conf": {"spark.app.name": "given by the cluster"}}}
    run_id = client.submit(JOBS / "sales_batch.py", "--spec", spec.as_uri(), task=cluster)
    run = client.until(run_id, seconds=180)
    said = client.output(run_id)
    assert state(run) == ("TERMINATED", "SUCCESS"), said
    assert json.loads(said["logs"])["rows_valid"] == 1
    assert json.loads((output / "_metrics.json").read_text())["totals"]["rows_quarantined"] == 1
    assert gone(client.service, 20)
    files = {path.name for path in (home / "runs" / str(run_id)).iterdir()} - {"scratch"}
    assert files == {
        "run.json",
        *(f"{run['tasks'][0]['run_id']}.{stream}" for stream in ("stdout", "stderr")),
    }
