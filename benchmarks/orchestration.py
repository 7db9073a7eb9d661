"""What orchestration costs: the main flow's wall time outside its tasks, the cost of a task, a run's peak memory.

    python -m benchmarks.orchestration [--runs 3] [--json]

A stack of its own is started, and the flow is run in a process of its own, as a worker runs it: once with a small
file, which is not counted, then `--runs` times with nothing new to land (rebuild, so that every step but Spark and
the load is taken). The time inside tasks is what Prefect itself recorded, from each task run's first state to its
last; the rest of the flow's time, between entering and leaving its function, is orchestration.
"""

import json
import os
import statistics
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

PARAMETERS = {"feed": "store_sales", "settle_seconds": 0, "rebuild": True}
ROWS = 2000
FEED = "store_sales"
ENTRYPOINT = "flows/run_sales_pipeline.py:run_sales_pipeline"
PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print; the exit code is 1 if orchestration takes more than 10 % and more than 5 s."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sales-orchestration-") as folder:
        os.environ |= {"SALES_HOME": f"{folder}/stack", "SALES_BUILD": f"{folder}/build"}
        from cli.console import prepare_prefect

        prepare_prefect(Path(folder), embedded=True)
        found = summary(measure_runs(Path(folder), options.runs))
    print(json.dumps(found, indent=1) if options.json else as_text(found))
    sys.exit(0 if found["is_within_budget"] else 1)


def measure_runs(folder: Path, count: int) -> list[dict[str, float]]:
    """Run the flow so many times on a stack of its own; see `read_run` for what each gives."""
    from blocks.settings import load_stack_settings
    from cli.console import prefect_at
    from cli.stack import prepare
    from local.stack import running
    from streaming.generator import write_store_files

    where = load_stack_settings()
    with running(where, lambda name, s: print(f"{name} {s:.1f} s", file=sys.stderr)) as stack:
        settings = stack.settings()
        with prefect_at(settings):
            prepare(settings)
            write_store_files(where.home.resolve() / "storage" / "drop" / FEED, seed=5, files=1, rows=ROWS)
            runs = [
                run_once(folder / f"{number}.log", str(settings.prefect_api_url))
                for number in range(count + 1)
            ]
    return runs[1:]


def run_once(log: Path, api: str) -> dict[str, float]:
    """Run the flow in a process of its own, as a worker does; measure it from outside."""
    from prefect import get_client
    from prefect.states import Pending

    from benchmarks.process_tree import measure
    from flows.run_sales_pipeline import run_sales_pipeline

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(run_sales_pipeline, parameters=PARAMETERS, state=Pending())
        values = {"PREFECT_API_URL": api, "PREFECT__FLOW_RUN_ID": str(run.id)}
        command = [sys.executable, "-m", "prefect.flow_engine", ENTRYPOINT]
        cost = measure(command, log, env=dict(os.environ) | values, cwd=PROJECT)
        return read_run(client, run.id) | {
            "process_seconds": cost.seconds,
            "peak_mb": cost.peak_bytes / 2**20,
            "load": cost.load,
        }


def read_run(client: Any, run_id: UUID) -> dict[str, float]:
    """Read what Prefect recorded: seconds of the flow, seconds in its tasks, how many those were."""
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId

    chosen = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run_id]))
    # dbt's nodes are shown as task runs too, and lie within the one that builds.
    tasks = [t for t in client.read_task_runs(task_run_filter=chosen, limit=200) if "dbt" not in t.tags]
    run = client.read_flow_run(run_id)
    assert run.state.is_completed(), run.state
    inside = sum(task.total_run_time.total_seconds() for task in tasks)
    return {"flow_seconds": run.total_run_time.total_seconds(), "task_seconds": inside, "tasks": len(tasks)}


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Give the medians, and whether orchestration is within the larger of 10 % of the flow and 5 s."""
    median = {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
    overhead = round(statistics.median(run["flow_seconds"] - run["task_seconds"] for run in runs), 2)
    return median | {
        "runs": len(runs),
        "overhead_seconds": overhead,
        "overhead_share": round(overhead / median["flow_seconds"], 3),
        "overhead_seconds_per_task": round(overhead / median["tasks"], 3),
        "is_within_budget": overhead <= max(5.0, 0.1 * median["flow_seconds"]),
    }


def as_text(found: dict[str, Any]) -> str:
    """Give the numbers as lines."""
    return "\n".join(f"{name.replace('_', ' '):28}{value}" for name, value in found.items())


if __name__ == "__main__":
    main()
