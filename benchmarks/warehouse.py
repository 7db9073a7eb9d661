"""What new data costs in the warehouse: dbt's incremental build beside its full refresh, and the expectations.

`python -m benchmarks.warehouse --rows 1,5,10` makes, for each number of millions of lines, a history in RAW of an
embedded warehouse of its own, and measures on the same tables

- a full refresh, models and data tests, as the flow runs dbt;
- an incremental build after `--new` lines more, two in a hundred of them older lines told anew, one in a hundred late;
- an incremental build with nothing new: what dbt costs without any data;
- the Great Expectations suites of RAW and of the candidates.

Ends with 1 if a target is missed at the longest history: the incremental build takes at most 15 % of the full
refresh's time, the suites at most 20 %.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect_snowflake import SnowflakeCredentials
from rich.console import Console

from benchmarks.streaming_sink import Service
from benchmarks.warehouse_history import Load, write_load
from blocks.warehouse import SalesWarehouse
from tasks.dbt_build import dbt_command, dbt_environment, faults, read_results, run_dbt
from tasks.expectations import validate
from tasks.migrations import migrate

TARGET_INCREMENTAL, TARGET_SUITES = 0.15, 0.20
SLOWEST = 12
console = Console(stderr=True)


@dataclass(frozen=True)
class Cost:
    """Wall seconds, CPU seconds of the warehouse's process, and seconds of the slowest nodes by name."""

    seconds: float
    warehouse_cpu_seconds: float
    slowest: dict[str, float]


class Bench:
    """A warehouse of its own in a folder, and dbt's results beside it."""

    def __init__(self, home: Path, memory: str) -> None:
        self.service = Service("snowflake", home, "--memory", memory)
        self.target = home / "target"
        self.warehouse = SalesWarehouse(
            credentials=SnowflakeCredentials(account="local", user="u", password="p"),
            database="SALES_DW",
            warehouse="W",
            schema="RAW",
            server_url=self.service.facts["url"],
        )
        values = {"processed_url": home.as_uri(), "stage_options": "", "database": "SALES_DW"}
        list(migrate(self.warehouse, values))

    def measure(self, work: Callable[[], dict[str, float]]) -> Cost:
        """Do some work that tells the seconds of its parts; give what it cost."""
        cpu, began = self._cpu(), time.monotonic()
        parts = work()
        seconds = time.monotonic() - began
        slowest = sorted(parts.items(), key=lambda part: -part[1])[:SLOWEST]
        return Cost(round(seconds, 2), round(self._cpu() - cpu, 2), {k: round(v, 2) for k, v in slowest})

    def _cpu(self) -> float:
        times = self.service.process.cpu_times()
        return float(times.user + times.system)

    def build(self, *arguments: str) -> dict[str, float]:
        """Build and test every model as the flow does; give seconds by node. Raises RuntimeError on a fault."""
        command = dbt_command(
            "build", "--exclude-resource-type", "unit_test", "--target-path", str(self.target), *arguments
        )
        code = run_dbt(command, dbt_environment(self.warehouse), logging.getLogger("dbt"))
        results = read_results(self.target)
        if code or not results:
            raise RuntimeError("\n".join(faults(results)) or f"dbt ended with code {code}")
        return {result["unique_id"].split(".")[2]: float(result["execution_time"]) for result in results}

    def expect(self) -> dict[str, float]:
        """Judge both layers; give seconds by layer. Tells of expectations that these made-up sales do not meet."""
        seconds = {}
        for layer in ("raw", "marts_candidate"):
            began = time.monotonic()
            failed = [f"{r.table}.{r.check_id}" for r in validate(self.warehouse, layer) if not r.success]
            seconds[layer] = time.monotonic() - began
            if failed:
                console.print(f"not met by the made-up sales: {', '.join(failed)}")
        return seconds

    def stop(self) -> None:
        self.service.process.terminate()
        self.service.process.wait()


def measure(lines: int, new: int, memory: str) -> dict[str, Any]:
    """Measure one length of history, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as home:
        bench = Bench(Path(home), memory)
        try:
            costs = {name: asdict(cost) for name, cost in _costs(bench, lines, new)}
        finally:
            bench.stop()
    full = costs["full refresh"]["seconds"]
    return {
        "lines": lines,
        "new": new,
        "costs": costs,
        "incremental_ratio": round(costs["incremental"]["seconds"] / full, 3),
        "incremental_cpu_ratio": round(
            costs["incremental"]["warehouse_cpu_seconds"] / costs["full refresh"]["warehouse_cpu_seconds"], 3
        ),
        "suites_ratio": round(costs["suites"]["seconds"] / full, 3),
        "load_average": os.getloadavg()[0],
    }


def _costs(bench: Bench, lines: int, new: int) -> Any:
    began = time.monotonic()
    write_load(bench.warehouse, Load(1, 0, lines, lines))
    console.print(f"{lines:,} lines made in {time.monotonic() - began:.0f} s")
    yield _said("full refresh", bench.measure(lambda: bench.build("--full-refresh")))
    # The first build after a full refresh is its like: what it had to judge in full it has judged.
    write_load(bench.warehouse, Load(2, lines, new, lines, retold=2))
    yield _said("incremental", bench.measure(bench.build))
    yield _said("nothing new", bench.measure(bench.build))
    yield _said("suites", bench.measure(bench.expect))


def _said(name: str, cost: Cost) -> tuple[str, Cost]:
    nodes = ", ".join(f"{node} {seconds}" for node, seconds in cost.slowest.items())
    console.print(f"{name}: {cost.seconds} s, {cost.warehouse_cpu_seconds} CPU s in the warehouse ({nodes})")
    return name, cost


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="1,5,10", help="lengths of the history, in millions of lines")
    parser.add_argument("--new", type=int, default=100_000, help="lines that come on top")
    parser.add_argument("--memory", default="6GB", help="memory limit of the embedded warehouse")
    parser.add_argument("--json", type=Path, help="file that keeps every number")
    options = parser.parse_args()
    lengths = [int(float(text) * 1_000_000) for text in options.rows.split(",")]
    results = [measure(lines, options.new, options.memory) for lines in lengths]
    last = max(results, key=lambda result: result["lines"])
    targets = {"incremental_ratio": TARGET_INCREMENTAL, "suites_ratio": TARGET_SUITES}
    missed = [name for name, target in targets.items() if last[name] > target]
    report = {"results": results, "targets": targets, "missed": missed}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    for result in results:
        print(
            f"{result['lines']:>12,} lines: full refresh {result['costs']['full refresh']['seconds']} s, "
            f"incremental {result['costs']['incremental']['seconds']} s ({result['incremental_ratio']:.1%}, "
            f"in CPU seconds {result['incremental_cpu_ratio']:.1%}), "
            f"nothing new {result['costs']['nothing new']['seconds']} s, "
            f"suites {result['costs']['suites']['seconds']} s ({result['suites_ratio']:.1%})"
        )
    print(f"missed: {', '.join(missed) or 'none'}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
