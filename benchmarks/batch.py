"""How fast the Spark batch job is, beside DuckDB, polars and a plain PySpark script doing the same work.

`python -m benchmarks.batch --rows 1,5,10` makes sales files of so many million lines, lets every engine clean
them as a process of its own (start included), checks that all of them arrive at the same rows, and prints what
each has cost. benchmarks/README.md says what is measured and how to read it.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks.process_tree import Cost, measure
from benchmarks.sales_files import write_sales_files
from blocks.databricks import DatabricksCluster
from blocks.feeds import JOBS, job_spec, load_contract, load_feed
from local.java import find_java
from local.spark_runtime import LARGE_BATCH, SparkRuntime
from local.spark_training import record_classes

FEED = "store_sales"
HERE = Path(__file__).parent
MODULES = {"duckdb": "benchmarks.duckdb_batch", "polars": "benchmarks.polars_batch"}
SCRIPTS = {"spark": JOBS / "sales_batch.py", "naive": HERE / "naive_spark_batch.py"}
ENGINES = ("spark", "duckdb", "polars", "naive")
# What the rows are told by: how many, what they are worth, and (not for the plain script) which lines they are.
SUMS = "count(*), sum(quantity), sum(quantity * unit_price)"
LINES = "bit_xor(hash(file_name, file_line)), sum(file_line)"
# As the embedded stack registers it; the plain script always has the settings of a large batch, which are Java's own.
CLUSTER = DatabricksCluster(large_batch_spark_conf=LARGE_BATCH)
TABLE_WIDTH = 130  # whole also where the output is no terminal
console = Console(stderr=True)


class Disagreement(Exception):
    """Two engines made different rows of the same files."""


@dataclass(frozen=True)
class Result:
    """One engine's runs over one set of files."""

    engine: str
    rows: int
    files: int
    costs: tuple[Cost, ...]

    @property
    def seconds(self) -> float:
        """The median of the runs."""
        return median(cost.seconds for cost in self.costs)

    @property
    def cpu_seconds(self) -> float:
        """The median of the runs."""
        return median(cost.cpu_seconds for cost in self.costs)

    @property
    def peak_bytes(self) -> int:
        """The largest of the runs."""
        return max(cost.peak_bytes for cost in self.costs)


class Workplace:
    """A folder with input files, each engine's output, and a Spark that has been made ready."""

    def __init__(self, folder: Path, driver_memory: str, spark_conf: dict[str, str]) -> None:
        self.folder, self._conf = folder, spark_conf
        self._runtime = SparkRuntime(folder, find_java(folder), driver_memory=driver_memory)

    def train(self) -> None:
        """Record the class archive that the embedded stack has from its second run on."""
        training = self.folder / "training"
        training.mkdir()
        asyncio.run(record_classes(self._runtime, training))

    def run(self, engine: str, inputs: list[Path]) -> tuple[Cost, Path]:
        """Let an engine clean the files; give what it cost and the folder of its output."""
        work = self.folder / engine
        shutil.rmtree(work, ignore_errors=True)
        output = work / "output"
        output.mkdir(parents=True)
        files = [{"uri": path.as_uri(), "name": path.name, "checksum": path.stem} for path in inputs]
        spec = job_spec(load_feed(FEED), load_contract(), "benchmark", files, output.as_uri())
        order = work / "spec.json"
        order.write_text(json.dumps(spec))
        script = ["-m", MODULES[engine]] if engine in MODULES else [str(SCRIPTS[engine])]
        size = sum(path.stat().st_size for path in inputs)
        conf = LARGE_BATCH if engine == "naive" else CLUSTER.new_cluster(size)["spark_conf"] | self._conf
        env = self._runtime.environment(work, conf, record=False) if engine in SCRIPTS else None
        command = [sys.executable, *script, "--spec", str(order)]
        return measure(command, work / "log", env, HERE.parent), output


def arrived_at(output: Path) -> dict[str, Any]:
    """Tell what an engine has made of the files: its account, and sums over the rows it wrote."""
    account = json.loads((output / "_metrics.json").read_text())
    valid = f"read_parquet('{output}/valid/*.parquet')"
    told = {"totals": account["totals"], "valid": duckdb.execute(f"select {SUMS} from {valid}").fetchall()}
    if "files" not in account:
        return told
    counts = [{key: value for key, value in file.items() if key != "checksum"} for file in account["files"]]
    quarantine = f"read_parquet('{output}/quarantine/*.parquet')"
    return told | {
        "files": counts,
        "valid lines": duckdb.execute(f"select {LINES} from {valid}").fetchall(),
        "rejected lines": duckdb.execute(
            f"select {LINES}, bit_xor(hash(rule_ids, raw_line)) from {quarantine}"
        ).fetchall(),
    }


def compare(engine: str, found: dict[str, Any], other: str, expected: dict[str, Any]) -> None:
    """Hold what two engines told against each other. Raises Disagreement."""
    for key in found.keys() & expected.keys():
        if found[key] != expected[key]:
            raise Disagreement(f"{key}: {engine} has {found[key]}, {other} has {expected[key]}")


def measure_all(
    place: Workplace, engines: list[str], inputs: list[Path], rows: int, runs: int, say: Callable[[str], None]
) -> list[Result]:
    """Run every engine `runs` times in turns over the files, and check that all arrive at the same."""
    costs: dict[str, list[Cost]] = {engine: [] for engine in engines}
    told: dict[str, dict[str, Any]] = {}
    for turn in range(1, runs + 1):
        for engine in engines:
            cost, output = place.run(engine, inputs)
            costs[engine].append(cost)
            say(
                f"{engine}, run {turn}: {cost.seconds:.1f} s, {cost.cpu_seconds:.1f} CPU-s, load {cost.load:.1f}"
            )
            told[engine] = arrived_at(output)
            for other, expected in told.items():
                compare(engine, told[engine], other, expected)
            shutil.rmtree(output)
    return [Result(engine, rows, len(inputs), tuple(costs[engine])) for engine in engines]


def show(results: list[Result]) -> Table:
    """Lay the results out, each beside DuckDB's and the plain script's of the same size."""
    table = Table("rows", "files", "engine", "seconds", "rows/s", "CPU-s", "peak memory", title="Batch")
    for heading in ("× DuckDB", "× DuckDB, CPU", "× naive", "load"):
        table.add_column(heading)
    for result in results:
        same = {r.engine: r for r in results if (r.rows, r.files) == (result.rows, result.files)}
        table.add_row(
            f"{result.rows:,}",
            f"{result.files:,}",
            result.engine,
            f"{result.seconds:.1f}",
            f"{result.rows / result.seconds:,.0f}",
            f"{result.cpu_seconds:.1f}",
            f"{result.peak_bytes / 2**30:.2f} GiB",
            _ratio(result, same.get("duckdb"), "seconds"),
            _ratio(result, same.get("duckdb"), "cpu_seconds"),
            _ratio(result, same.get("naive"), "seconds"),
            f"{max(cost.load for cost in result.costs):.1f}",
        )
    return table


def _ratio(result: Result, other: Result | None, field: str) -> str:
    return f"{getattr(result, field) / getattr(other, field):.2f}" if other else ""


def growth(results: list[Result]) -> list[str]:
    """Say for every engine what a further million lines costs, from its smallest to its largest batch."""
    lines = []
    for engine in dict.fromkeys(result.engine for result in results):
        own = sorted((r for r in results if r.engine == engine), key=lambda r: r.rows)
        if (more := (own[-1].rows - own[0].rows) / 1e6) > 0:
            seconds, cpu = own[-1].seconds - own[0].seconds, own[-1].cpu_seconds - own[0].cpu_seconds
            memory = own[-1].peak_bytes / own[0].peak_bytes
            lines.append(
                f"{engine}: {seconds / more:.1f} s and {cpu / more:.1f} CPU-s for each further million lines; "
                f"{own[-1].rows / own[0].rows:g} times the lines take {memory:.2f} times the memory"
            )
    return lines


def _engines(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(ENGINES):
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; choose from {', '.join(ENGINES)}")
    return chosen


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch", description="Measure the Spark batch job beside other engines."
    )
    millions = lambda text: [round(float(part) * 1e6) for part in text.split(",")]  # noqa: E731
    parser.add_argument(
        "--rows", type=millions, default="1", help="millions of lines, e.g. 1,5,10 (%(default)s)"
    )
    parser.add_argument("--files", type=int, default=8, help="files they are spread over (%(default)s)")
    parser.add_argument("--small-files", type=int, metavar="N", help="measure the same lines in N files too")
    parser.add_argument(
        "--runs", type=int, default=1, help="runs of each engine; medians count (%(default)s)"
    )
    parser.add_argument("--engines", type=_engines, default=",".join(ENGINES), help="(%(default)s)")
    parser.add_argument("--driver-memory", default="2g", help="heap of Spark's JVM (%(default)s)")
    parser.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE", help="a Spark setting")
    parser.add_argument(
        "--folder", type=Path, help="scratch folder, about 1 GB for a million lines (temporary)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there too")
    return parser.parse_args()


def main() -> None:
    """Measure what the command line asks for."""
    options = _options()
    engines = options.engines
    if "polars" in engines and not find_spec("polars"):
        console.print("polars is not installed, so it is left out; `pip install polars` brings it in.")
        engines.remove("polars")
    results: list[Result] = []
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="batch-benchmark-") as scratch:
        conf = dict(setting.split("=", 1) for setting in options.conf)
        place = Workplace(Path(scratch), options.driver_memory, conf)
        if set(engines) & set(SCRIPTS):
            console.print("Preparing Spark's class archive, as the embedded stack does after its first run")
            place.train()
        for rows in options.rows:
            for files in filter(None, (options.files, options.small_files)):
                console.print(f"Writing {rows:,} lines in {files:,} files")
                inputs = write_sales_files(place.folder / "input", rows, files)
                results += measure_all(place, engines, inputs, rows, options.runs, console.print)
                shutil.rmtree(place.folder / "input")
    answer = Console(width=max(console.width, TABLE_WIDTH))
    answer.print(show(results))
    for line in growth([result for result in results if result.files == options.files]):
        answer.print(line)
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=2))


if __name__ == "__main__":
    main()
