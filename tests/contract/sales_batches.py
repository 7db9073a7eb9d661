"""Batches of sales files for tests of the batch job: write them, run the job, look at what came out."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from blocks.feeds import Feed, job_spec, load_contract
from spark_jobs import sales_batch

HEADER = "order_id,line_number,product_id,product_name,product_category,customer_id,customer_segment,country,"
HEADER += "quantity,unit_price,currency,ordered_at,updated_at"
GOOD = "A1,1,P1,Lamp,Home,C1,consumer,Spain,2,9.99,EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z"


def line(**changes: str) -> str:
    """Give the good line with some fields replaced."""
    fields = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | changes
    return ",".join(fields.values())


class Batch:
    """One batch: give it files, run it, look at what came out."""

    def __init__(self, spark: SparkSession, folder: Path, feed: Feed) -> None:
        self.spark, self.folder, self.feed = spark, folder, feed
        self.files: list[dict[str, str]] = []

    def add(self, name: str, content: str | bytes, checksum: str = "") -> "Batch":
        checksum = checksum or f"{len(self.files):064d}"
        path = self.folder / "raw" / checksum[:16] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.files.append({"uri": f"file://{path}", "name": name, "checksum": checksum})
        return self

    def run(self, output: str = "out") -> dict[str, Any]:
        self.output = self.folder / output
        spec = job_spec(self.feed, load_contract(), "b1", self.files, f"file://{self.output}")
        self.metrics = sales_batch.run(self.spark, json.loads(json.dumps(spec)))
        assert json.loads((self.output / "_metrics.json").read_text()) == self.metrics
        return self.metrics

    def valid(self) -> list[dict[str, Any]]:
        rows = pa.concat_tables(
            [pq.read_table(file) for file in self.output.glob("valid/*.parquet")]
        ).to_pylist()
        return sorted(rows, key=lambda row: (row["file_name"], row["file_line"]))

    def rejected(self) -> list[tuple[str, int, str, str]]:
        rows = [
            row
            for file in self.output.glob("quarantine/*.parquet")
            for row in pq.read_table(file).to_pylist()
        ]
        return sorted((row["file_name"], row["file_line"], row["rule_ids"], row["raw_line"]) for row in rows)


def counts(metrics: dict[str, Any]) -> list[tuple[int, ...]]:
    """Give rows read, valid, quarantined and duplicate of every file."""
    return [tuple(file[count] for count in sales_batch.COUNTS) for file in metrics["files"]]
