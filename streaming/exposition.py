"""What a producer has done, as metrics for Prometheus: a file for the node exporter's textfile collector.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streaming.report import PublishReport

WRITE_SECONDS = 5
OUTCOMES = {
    "produced": "produced",
    "dead_lettered": "rejected",
    "failed": "failed",
    "spilled": "spilled",
    "resent": "resent",
}


class MetricsFile(Collector):
    """Writes the counts to one file, in one step each time, so that no reader sees half of it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.report, self.written = path, PublishReport(), 0.0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def update(self, report: PublishReport, *, now: bool = False) -> None:
        """Take over the counts; write them if they were not for a while, or must be `now`."""
        self.report = report
        if now or time.monotonic() - self.written >= WRITE_SECONDS:
            write_to_textfile(str(self.path), self.registry)
            self.written = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """Give the metrics (called by prometheus_client)."""
        report = self.report
        events = CounterMetricFamily(
            "sales_producer_events", "Events by what became of them.", labels=["outcome"]
        )
        for outcome, field in OUTCOMES.items():
            events.add_metric([outcome], getattr(report, field))
        yield events
        yield CounterMetricFamily("sales_producer_taken", "Events taken from the source.", value=report.taken)
        yield CounterMetricFamily("sales_producer_bytes", "Bytes of the values sent.", value=report.bytes)
        yield CounterMetricFamily("sales_producer_seconds", "Seconds of producing.", value=report.seconds)
        yield GaugeMetricFamily("sales_producer_queue_length", "Sent, not confirmed.", value=report.queued)
        yield GaugeMetricFamily("sales_producer_spill_length", "Waiting in the spill.", value=report.waiting)


class Snapshot(Collector):
    """Metrics as they are at one moment."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        """Give the metrics (called by prometheus_client)."""
        yield from self._metrics


def write_snapshot(path: Path, metrics: Iterable[Metric]) -> None:
    """Write metrics to a file, in one step, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    registry = CollectorRegistry()
    registry.register(Snapshot(metrics))
    write_to_textfile(str(path), registry)
