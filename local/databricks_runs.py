"""Runs of the Databricks stand-in: each is a folder with its record, its logs and a process group of its own.

The record (`run.json`) is what the Jobs API answers, written at every change; after a restart of the service
the runs are still there, and one that was interrupted is known to be.
"""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from local.process_groups import end_group, group_gone, kill_in_folder
from local.s3_mirror import S3, S3Mirror
from local.spark_runtime import SparkRuntime
from local.spark_training import record_classes

ENDED = frozenset({"TERMINATED", "INTERNAL_ERROR"})
LOST = "The driver was lost: the service stopped while the run was going."
TRACEBACK = "Traceback (most recent call last)"
OUTPUT_BYTES = 5 * 1024 * 1024  # as much as the real get-output returns
TOKEN_CHARACTERS = 64
FIRST_ID = 1000
LINGER_SECONDS = 60
Json = dict[str, Any]


class Refused(Exception):
    """The API's answer to a call it cannot serve: HTTP status, error code and message."""

    def __init__(self, status: int, code: int | str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def invalid(message: str) -> Refused:
    """Give the refusal of a call with a wrong parameter."""
    return Refused(400, "INVALID_PARAMETER_VALUE", message)


def state(life: str, message: str = "", result: str | None = None) -> Json:
    """Give the state of a run or task as the Jobs API shapes it."""
    stopped = result in ("CANCELED", "TIMEDOUT")
    shape = {"life_cycle_state": life, "state_message": message, "user_cancelled_or_timedout": stopped}
    return shape | ({"result_state": result} if result else {})


class Runs:
    """All runs under `home`, at most `slots` of them going at a time; used from one event loop."""

    def __init__(self, home: Path, runtime: SparkRuntime, slots: int) -> None:
        self._home, self._runtime = home / "runs", runtime
        self._slots = asyncio.Semaphore(slots)
        self._records: dict[int, Json] = {}
        self._driving: dict[int, asyncio.Task[None]] = {}
        self._aside: set[asyncio.Task[None]] = set()
        self._training = self._stopping = False
        self._last_id = FIRST_ID
        self._home.mkdir(parents=True, exist_ok=True)
        kill_in_folder(home / "training")
        for file in sorted(self._home.glob("*/run.json"), key=lambda file: int(file.parent.name)):
            self._recover(json.loads(file.read_text()))

    # --- what the API asks -----------------------------------------------------------------------------

    def submit(self, order: Json, base_url: str) -> Json:
        """Start a one-time run, or find the run that this idempotency token has started before."""
        token, tasks = order.get("idempotency_token"), order.get("tasks") or []
        if token and len(token) > TOKEN_CHARACTERS:
            raise invalid(f"idempotency_token must be at most {TOKEN_CHARACTERS} characters.")
        for record in self._records.values():
            if token and record["token"] == token:
                return {"run_id": record["run"]["run_id"]}
        _check_tasks(tasks)
        run_id = self._next_id()
        page = f"{base_url}runs/{run_id}"
        run = {
            "job_id": run_id,
            "run_id": run_id,
            "creator_user_name": "local",
            "run_name": order.get("run_name") or "Untitled",
            "run_page_url": page,
            "run_type": "SUBMIT_RUN",
            "trigger": "ONE_TIME",
            "format": "MULTI_TASK",
            "start_time": _now(),
            "timeout_seconds": order.get("timeout_seconds") or 0,
            "tasks": [self._task(task, page) for task in tasks],
        }
        self._records[run_id] = record = {"token": token, "run": run}
        self._change(record, run, state("PENDING", "Waiting for cluster"))
        self._driving[run_id] = asyncio.get_running_loop().create_task(self._drive(record))
        return {"run_id": run_id}

    def get(self, run_id: Any) -> Json:
        """Give a run, found by its id or by that of one of its tasks."""
        return self._find(run_id)[0]["run"]

    def list(self, query: Json) -> Json:
        """Give the runs, newest first, a page at a time; all, or those that are going or that have ended."""
        limit, offset = int(query.get("limit", 20)), int(query.get("offset", 0))
        unwanted = {True: query.get("completed_only") == "true", False: query.get("active_only") == "true"}
        runs = [record["run"] for record in reversed(self._records.values())]
        found = [run for run in runs if not unwanted[_going(run)]]
        return {"runs": found[offset : offset + limit], "has_more": len(found) > offset + limit}

    def cancel(self, run_id: Any) -> Json:
        """Stop a run; its processes are gone soon after, JVM included."""
        record, _ = self._find(run_id)
        if driving := self._driving.get(record["run"]["run_id"]):
            self._change(record, record["run"], state("TERMINATING", "Cancelling"))
            driving.cancel()
        return {}

    def output(self, run_id: Any) -> Json:
        """Give what a task printed and, if it failed, its error and trace."""
        _, task = self._find(run_id)
        if task is None:
            raise invalid(
                "Retrieving the output of runs with multiple tasks is not supported. "
                "Please retrieve the output of each individual task run instead."
            )
        printed = self.log(task["run_id"], "stdout")
        errors = {key: task[key] for key in ("error", "error_trace") if key in task}
        return {
            "metadata": {key: value for key, value in task.items() if key not in errors},
            "logs": printed[-OUTPUT_BYTES:].decode(errors="replace"),
            "logs_truncated": len(printed) > OUTPUT_BYTES,
            **errors,
        }

    def log(self, run_id: Any, stream: str) -> bytes:
        """Give all that a task has written to `stdout` or `stderr` so far."""
        record, task = self._find(run_id)
        file = self._folder(record) / f"{task['run_id'] if task else ''}.{stream}"
        return file.read_bytes() if file.exists() else b""

    async def stop(self) -> None:
        """End every process; runs that were going are recorded as lost."""
        self._stopping = True
        for job in (*self._driving.values(), *self._aside):
            job.cancel()
        await asyncio.gather(*self._driving.values(), *self._aside, return_exceptions=True)
        await asyncio.gather(*self._aside, return_exceptions=True)

    # --- how a run goes --------------------------------------------------------------------------------

    async def _drive(self, record: Json) -> None:
        run = record["run"]
        try:
            async with asyncio.timeout(run["timeout_seconds"] or None), self._slots:
                self._change(record, run, state("RUNNING", "In run"))
                for task in run["tasks"]:
                    with S3Mirror(self._folder(record) / "s3") as mirror:
                        await self._perform(record, task, mirror)
            self._end(record, _outcome(run["tasks"]))
        except asyncio.CancelledError:
            cancelled = state("TERMINATED", "Run cancelled.", "CANCELED")
            self._end(record, state("INTERNAL_ERROR", LOST, "FAILED") if self._stopping else cancelled)
        except TimeoutError:
            self._end(record, state("TERMINATED", "Run timed out.", "TIMEDOUT"))
        except Exception as error:  # a run ends, whatever kept it from going on
            self._end(record, state("INTERNAL_ERROR", f"The run broke off: {error}", "FAILED"))
        finally:
            del self._driving[run["run_id"]]

    async def _perform(self, record: Json, task: Json, mirror: S3Mirror) -> None:
        """Run one task to its end; a time limit or a cancellation ends all its processes."""
        results = {other["task_key"]: other["state"].get("result_state") for other in record["run"]["tasks"]}
        if any(results.get(upstream["task_key"]) != "SUCCESS" for upstream in task["depends_on"]):
            self._change(record, task, state("TERMINATED", "An upstream task failed.", "UPSTREAM_FAILED"))
            return
        await asyncio.to_thread(mirror.fetch, task["spark_python_task"])
        if not _script(task, mirror).is_file():
            task["error"] = f"Cannot read the python file {task['spark_python_task']['python_file']}"
            self._change(record, task, state("INTERNAL_ERROR", task["error"], "FAILED"))
            return
        process = await self._launch(record, task, mirror)
        self._change(record, task, state("RUNNING", "In run"))
        try:
            async with asyncio.timeout(task["timeout_seconds"] or None):
                await process.wait()
        except TimeoutError:
            self._change(record, task, state("TERMINATED", "Run timed out.", "TIMEDOUT"))
        finally:
            if process.returncode != 0:
                await end_group(process.pid)
            self._do_aside(self._clear_up(record, process.pid))
        if _going(task):
            await asyncio.to_thread(mirror.give_back)
            self._judge(record, task, process.returncode)
            with suppress(OSError):  # a faster next run is no reason to fail this one
                self._train(_script(task, mirror))

    async def _launch(self, record: Json, task: Json, mirror: S3Mirror) -> asyncio.subprocess.Process:
        folder, order = self._folder(record), task["spark_python_task"]
        cluster_conf = (task["new_cluster"] or {}).get("spark_conf") or {}
        with (
            (folder / f"{task['run_id']}.stdout").open("wb") as stdout,
            (folder / f"{task['run_id']}.stderr").open("wb") as stderr,
        ):
            return await asyncio.create_subprocess_exec(
                sys.executable,
                str(_script(task, mirror)),
                *map(str, order.get("parameters") or []),
                env=self._runtime.environment(folder, mirror.settings() | cluster_conf, record=False),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # a process group of its own, so that the JVM is ended with it
            )

    async def _clear_up(self, record: Json, group: int) -> None:
        """See a run's last processes off (a JVM outlives its script by a moment) and clear its scratch folder."""
        try:
            await group_gone(group, LINGER_SECONDS)
        finally:
            await end_group(group)
            shutil.rmtree(self._folder(record) / "scratch", ignore_errors=True)

    def _train(self, script: Path) -> None:
        """After the first run that used Spark, see to it that the next ones start faster."""
        used_spark = "pyspark" in script.read_text(errors="replace")
        if used_spark and not (self._training or self._runtime.archive.exists()):
            self._training = True
            folder = self._home.parent / "training"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            self._do_aside(record_classes(self._runtime, folder))

    def _do_aside(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(work)
        self._aside.add(job)
        job.add_done_callback(self._aside.discard)

    def _judge(self, record: Json, task: Json, code: int | None) -> None:
        if code == 0:
            self._change(record, task, state("TERMINATED", "", "SUCCESS"))
            return
        text = self.log(task["run_id"], "stderr").decode(errors="replace")
        trace = text[max(text.rfind(TRACEBACK), 0) :][-OUTPUT_BYTES:]
        said = [line for line in trace.splitlines()[1:] if line and not line.startswith((" ", "\t"))]
        task["error"] = said[0] if TRACEBACK in trace and said else f"The script ended with code {code}."
        task["error_trace"] = trace
        message = "Workload failed, see run output for details"
        self._change(record, task, state("TERMINATED", message, "FAILED"))

    def _end(self, record: Json, outcome: Json) -> None:
        """End a run, and with it every task that has not ended by itself."""
        for part in (*record["run"]["tasks"], record["run"]):
            if _going(part):
                self._change(record, part, outcome)

    def _change(self, record: Json, part: Json, now: Json) -> None:
        """Set the state of a run or task, and write the record in one step."""
        part |= {"state": now, "end_time": _now() if now["life_cycle_state"] in ENDED else 0}
        folder = self._folder(record)
        folder.mkdir(exist_ok=True)
        (folder / "run.json.partial").write_text(json.dumps(record))
        (folder / "run.json.partial").replace(folder / "run.json")

    # --- records ---------------------------------------------------------------------------------------

    def _recover(self, record: Json) -> None:
        """Take up a record of an earlier life of the service; what was going then is lost."""
        run = record["run"]
        self._records[run["run_id"]] = record
        self._last_id = max(self._last_id, *(task["run_id"] for task in run["tasks"]))
        kill_in_folder(self._folder(record))
        shutil.rmtree(self._folder(record) / "scratch", ignore_errors=True)
        self._end(record, state("INTERNAL_ERROR", LOST, "FAILED"))

    def _task(self, order: Json, page: str) -> Json:
        return {
            "run_id": self._next_id(),
            "task_key": order["task_key"],
            "spark_python_task": order["spark_python_task"],
            "new_cluster": order.get("new_cluster"),
            "depends_on": order.get("depends_on") or [],
            "timeout_seconds": order.get("timeout_seconds") or 0,
            "attempt_number": 0,
            "run_page_url": page,
            "start_time": _now(),
            "end_time": 0,
            "state": state("PENDING", "Waiting for cluster"),
        }

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _find(self, run_id: Any) -> tuple[Json, Json | None]:
        """Give a record, and the one task that is meant, if one is. Raises Refused if there is none."""
        if not str(run_id).isdecimal():
            raise invalid(f"Invalid run_id: {run_id}")
        for record in self._records.values():
            tasks = {task["run_id"]: task for task in record["run"]["tasks"]}
            if int(run_id) == record["run"]["run_id"]:
                return record, next(iter(tasks.values())) if len(tasks) == 1 else None
            if int(run_id) in tasks:
                return record, tasks[int(run_id)]
        raise invalid(f"Run {run_id} does not exist.")

    def _folder(self, record: Json) -> Path:
        return self._home / str(record["run"]["run_id"])


def _check_tasks(tasks: list[Json]) -> None:
    keys = [task.get("task_key") for task in tasks]
    if not tasks:
        raise invalid("At least one task must be specified.")
    if not all(keys) or len(set(keys)) != len(keys):
        raise invalid("task_key must be present and unique.")
    for task in tasks:
        python_file = (task.get("spark_python_task") or {}).get("python_file")
        if not python_file:
            raise invalid(f"Task {task['task_key']}: this stand-in runs spark_python_task only.")
        if urlsplit(python_file).scheme not in ("", "file", "s3"):
            raise invalid(
                f"Task {task['task_key']}: this stand-in reads python files by file:// and s3:// only."
            )


def _script(task: Json, mirror: S3Mirror) -> Path:
    python_file = task["spark_python_task"]["python_file"]
    return (
        mirror.path(python_file) if python_file.startswith(S3) else Path(unquote(urlsplit(python_file).path))
    )


def _outcome(tasks: list[Json]) -> Json:
    """Give the state of a run whose tasks have all ended."""
    failed = [task for task in tasks if task["state"]["result_state"] != "SUCCESS"]
    if not failed:
        return state("TERMINATED", "", "SUCCESS")
    first = failed[0]["state"]
    message = f"Task {failed[0]['task_key']} failed with message: {first['state_message']}."
    return first | {"state_message": message}


def _going(part: Json) -> bool:
    return part["state"]["life_cycle_state"] not in ENDED


def _now() -> int:
    return int(time.time() * 1000)
