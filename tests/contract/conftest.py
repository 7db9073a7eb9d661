"""Embedded services as processes of their own, as the stack starts them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from blocks.feeds import load_feed
from local.java import find_java
from local.spark_runtime import SparkRuntime
from tests.contract.sales_batches import Batch

START_SECONDS = 60


@dataclass
class Service:
    """A running `python -m local.<name>`; `facts` is its ready.json."""

    name: str
    home: Path
    arguments: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def start(self) -> "Service":
        (self.home / "ready.json").unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            f"local.{self.name}",
            "--home",
            str(self.home),
            "--lifeline",
            *self.arguments,
        ]
        with (self.home / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, stdout=log)
        deadline = time.monotonic() + START_SECONDS
        while not (self.home / "ready.json").exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        self.facts = json.loads((self.home / "ready.json").read_text())
        return self

    def stop(self) -> int:
        """Stop politely, as SIGTERM asks; give the exit code."""
        self.process.terminate()
        return self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def log(self) -> str:
        return (self.home / "log.txt").read_text(errors="replace")


@pytest.fixture(scope="module")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """Start services, each in a home of its own; all are gone when the module's tests are done."""
    started: list[Service] = []

    def start(name: str, *arguments: str, home: Path | None = None) -> Service:
        service = Service(name, home or tmp_path_factory.mktemp(name), arguments)
        started.append(service)
        return service.start()

    yield start
    for service in reversed(started):
        service.kill()


@pytest.fixture(scope="module")
def serve_warehouse(start_service: Callable[..., Service]) -> Callable[..., Any]:
    """Start an embedded Snowflake with all of sql/ applied; give the pipeline's block for it."""
    from prefect_snowflake import SnowflakeCredentials

    from blocks.warehouse import SalesWarehouse
    from tasks.migrations import migrate

    def serve(processed_url: str, *arguments: str) -> SalesWarehouse:
        block = SalesWarehouse(
            credentials=SnowflakeCredentials(account="local", user="u", password="p"),
            database="SALES_DW",
            warehouse="W",
            schema="RAW",
            server_url=start_service("snowflake", *arguments).facts["url"],
        )
        values = {"processed_url": processed_url, "stage_options": "", "database": "SALES_DW"}
        list(migrate(block, values))
        return block

    return serve


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One Spark session for the whole test run, started as the embedded stack starts its runs."""
    home = tmp_path_factory.mktemp("spark")
    environment = SparkRuntime(home, find_java(home)).environment(home, {}, record=False)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JAVA_HOME", "SPARK_LOCAL_IP", "SPARK_SUBMIT_OPTS", "PYSPARK_SUBMIT_ARGS"):
            patch.setenv(name, environment[name])
        session = SparkSession.builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def batch(spark: SparkSession, tmp_path: Path) -> Callable[..., Batch]:
    """Make a batch of a feed by its name, with some of its declarations changed."""
    return lambda feed="store_sales", **changes: Batch(
        spark, tmp_path, load_feed(feed).model_copy(update=changes)
    )
