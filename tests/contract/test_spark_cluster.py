"""The batch job on several executors: the same tables as on one machine, row for row."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pyspark
import pytest

from blocks.feeds import JOBS, job_spec, load_contract, load_feed
from local.java import find_java
from local.spark_runtime import QUICK_START, SparkRuntime
from streaming.generator import write_store_files

# Two executors of one core and 1 GB each, every one a JVM of its own: rows travel by network and disk.
PLACES = {
    "one machine": {"spark.master": "local[2]"},
    "cluster": {
        "spark.master": "local-cluster[2,1,1024]",
        "spark.executor.memory": "1g",
        # Begin when both executors are there, however long the second takes to start.
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "120s",
        "spark.executor.extraJavaOptions": " ".join(QUICK_START),
    },
}
# Where the workers of such a cluster keep their executors' files: no setting moves it.
WORK = Path(pyspark.__file__).parent / "work"
SPLIT_BYTES = "60000"  # so that every file is read by several tasks


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Give six files with rejects, duplicates within a file, and lines of one file again in the next."""
    folder = tmp_path_factory.mktemp("raw")
    write_store_files(folder, seed=3, files=6, rows=6_000, fault_share=0.05, duplicate_share=0.02)
    dice, last = random.Random(3), []
    for path in sorted(folder.glob("*.csv")):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines, *last, ""]))
        last = dice.sample(lines[1:], 100)
    return [
        {"uri": path.as_uri(), "name": path.name, "checksum": path.stem}
        for path in sorted(folder.glob("*.csv"))
    ]


def run(folder: Path, files: list[dict[str, str]], conf: dict[str, str]) -> Path:
    """Run the job as a process with these settings; give the folder of its output."""
    output, order = folder / "output", folder / "spec.json"
    spec = job_spec(load_feed("store_sales"), load_contract(), "b1", files, output.as_uri())
    order.write_text(json.dumps(spec))
    settings = {"spark.sql.files.maxPartitionBytes": SPLIT_BYTES, "spark.sql.files.openCostInBytes": "0"}
    runtime = SparkRuntime(folder, find_java(folder), driver_memory="1g")
    environment = runtime.environment(folder, settings | conf, record=False)
    command = [sys.executable, str(JOBS / "sales_batch.py"), "--spec", str(order)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return output


def table(folder: Path) -> list[dict[str, Any]]:
    rows = [row for file in folder.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    return sorted(rows, key=lambda row: (row["file_name"], row["file_line"]))


def test_a_cluster_gives_the_same_tables_as_one_machine(files, tmp_path):
    outputs, before = {}, set(WORK.glob("*"))
    for place, conf in PLACES.items():
        folder = tmp_path / place.replace(" ", "-")
        folder.mkdir()
        outputs[place] = run(folder, files, conf)
    (application,) = set(WORK.glob("*")) - before
    worked = ["Finished task" in (application / executor / "stderr").read_text() for executor in "01"]
    shutil.rmtree(application)
    assert worked == [True, True]
    alone, cluster = outputs["one machine"], outputs["cluster"]
    metrics = json.loads((alone / "_metrics.json").read_text())
    assert json.loads((cluster / "_metrics.json").read_text()) == metrics
    totals = metrics["totals"]
    assert totals["rows_read"] == 6_500
    assert totals["rows_duplicate"] > 500
    assert totals["rows_quarantined"] > 250
    for part, count in (("valid", "rows_valid"), ("quarantine", "rows_quarantined")):
        rows = table(alone / part)
        assert len(rows) == totals[count]
        assert table(cluster / part) == rows
        written = [file for output in outputs.values() for file in output.glob(f"{part}/*.parquet")]
        schemas = {str(pq.read_schema(file)) for file in written}
        assert len(schemas) == 1
