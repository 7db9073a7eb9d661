"""One embedded stack and one Prefect server for the whole test run, started only if a test asks for them."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How fast examples are made says something about the machine, nothing about the code.
settings.register_profile("sales", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sales")

HOME = Path(tempfile.mkdtemp(prefix="sales-tests-"))
for name in [name for name in os.environ if name.startswith(("SALES_", "PREFECT_"))]:
    del os.environ[name]
os.environ["SALES_HOME"] = str(HOME / "stack")
os.environ["SALES_BUILD"] = str(HOME / "build")

from cli.console import prepare_prefect  # noqa: E402  (Prefect reads its environment once, at import)

prepare_prefect(HOME)

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "online_retail.csv.gz"


@dataclass
class Pipeline:
    """The running stack, prepared, with what tests do to it."""

    settings: Any
    home: Path

    @property
    def warehouse(self) -> Any:
        from blocks.register import warehouse_from

        return warehouse_from(self.settings)

    def drop(self, feed: str) -> Path:
        folder = self.home / "storage" / "drop" / feed
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def run(self, feed: str, **parameters: Any) -> dict[str, Any]:
        from flows.run_sales_pipeline import run_sales_pipeline

        return run_sales_pipeline(feed, **{"settle_seconds": 0} | parameters)

    def publish(self, events: Any) -> Any:
        from blocks.register import kafka_from
        from streaming.producer import publish

        return publish(kafka_from(self.settings), events, validate=False)

    def slack(self) -> list[str]:
        import httpx

        url = self.settings.alerts_webhook_url.get_secret_value().split("/services")[0]
        return [message["payload"]["text"] for message in httpx.get(f"{url}/messages").json()]

    def told(self, words: str, seconds: float = 30) -> list[str]:
        """Wait for a Slack message with these words, for the server tells in its own time; give all that have them."""
        from prefect.events.worker import EventsWorker

        EventsWorker.drain_all(timeout=5)
        deadline = time.monotonic() + seconds
        while not (found := [text for text in self.slack() if words in text]):
            assert time.monotonic() < deadline, f"nobody told of {words!r}, but of {self.slack()[-3:]}"
            time.sleep(0.2)
        return found


@pytest.fixture(scope="session")
def pipeline() -> Iterator[Pipeline]:
    from blocks.settings import load_stack_settings
    from cli.console import prefect_at
    from cli.stack import prepare
    from local.stack import running

    where = load_stack_settings()
    with ExitStack() as until_done:
        stack = until_done.enter_context(
            running(where, lambda name, s: print(f"{name} {s:.1f} s", file=sys.stderr))
        )
        settings = stack.settings()
        until_done.enter_context(prefect_at(settings))
        prepare(settings)
        yield Pipeline(settings, where.home.resolve())


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.exists():
        pytest.skip(f"the Online Retail data is not beside this checkout ({REAL_DATA.name})")
    return REAL_DATA
