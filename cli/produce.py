"""`sales produce`: publish sales events to Kafka."""

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from blocks.errors import WillNotHeal
from blocks.settings import EMBEDDED, Settings, load_stack_settings
from cli.console import output, prepare_prefect, progress, settings_or_fail

GENERATED, REPLAYED, POLLED, DELIVERED = "Generated sales", "Replay of a file", "Sales API", "Delivery"
COUNT, SHARE = 1000, {"min": 0.0, "max": 1.0}
PROGRESS = "{task.completed:,.0f} events · {task.fields[rate]:,.0f}/s · {task.fields[rest]}"


def produce(
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            min=0,
            help=f"How many to publish, {COUNT} unless told; 0 sends only what waits in the spill.",
            rich_help_panel=GENERATED,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="The same seed is the same events.", rich_help_panel=GENERATED)
    ] = 1,
    days: Annotated[
        int, typer.Option("--days", min=1, help="Days they are spread over.", rich_help_panel=GENERATED)
    ] = 30,
    start: Annotated[
        datetime | None,
        typer.Option("--start", formats=["%Y-%m-%d"], help="The first day.", rich_help_panel=GENERATED),
    ] = None,
    returns: Annotated[
        float, typer.Option("--returns", **SHARE, help="Share returned.", rich_help_panel=GENERATED)
    ] = 0.03,
    late: Annotated[
        float, typer.Option("--late", **SHARE, help="Share told days late.", rich_help_panel=GENERATED)
    ] = 0.01,
    duplicates: Annotated[
        float, typer.Option("--duplicates", **SHARE, help="Share sent twice.", rich_help_panel=GENERATED)
    ] = 0.0,
    broken: Annotated[
        float,
        typer.Option("--broken", **SHARE, help="Share that breaks the schema.", rich_help_panel=GENERATED),
    ] = 0.0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Publish them to a real environment.", rich_help_panel=GENERATED)
    ] = False,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay",
            exists=True,
            dir_okay=False,
            help="A CSV file (plain or .gz) to publish line by line.",
            rich_help_panel=REPLAYED,
        ),
    ] = None,
    feed: Annotated[
        str, typer.Option("--feed", help="The feed the file belongs to.", rich_help_panel=REPLAYED)
    ] = "store_sales",
    api: Annotated[
        bool, typer.Option("--api", help="Poll SALES_SALES_API_URL.", rich_help_panel=POLLED)
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on polling until stopped.", rich_help_panel=POLLED)
    ] = False,
    poll_seconds: Annotated[
        float, typer.Option("--poll-seconds", min=0.1, help="Wait between polls.", rich_help_panel=POLLED)
    ] = 2.0,
    cursor: Annotated[
        Path | None,
        typer.Option(
            "--cursor", help="File that keeps where it is [SALES_HOME/producer].", rich_help_panel=POLLED
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            min=0.001,
            help="Publish at this multiple of the recorded speed; as fast as possible without it.",
            rich_help_panel=DELIVERED,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.1, help="At most so many events a second.", rich_help_panel=DELIVERED),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            min=1,
            help="Seconds without an answer of the cluster after which events are kept in the spill.",
            rich_help_panel=DELIVERED,
        ),
    ] = 60.0,
    spill: Annotated[
        Path | None,
        typer.Option(
            "--spill",
            file_okay=False,
            help="Folder of events that wait for the cluster; they are sent first [SALES_HOME/producer].",
            rich_help_panel=DELIVERED,
        ),
    ] = None,
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            "--metrics-file",
            dir_okay=False,
            help="Write counters there for Prometheus, every few seconds and at the end.",
            rich_help_panel=DELIVERED,
        ),
    ] = None,
) -> None:
    """Publish sales events: generated ones, a feed's file replayed, or what the sales API tells.

    Each is confirmed by the cluster, or kept in the spill, which the next start sends first. SIGTERM and Ctrl-C end
    it in order: nothing that was taken is lost.
    """
    home = load_stack_settings().home.resolve()
    prepare_prefect(home)
    settings = settings_or_fail()
    kept = home / "producer" / settings.environment
    if [count is not None, replay is not None, api].count(True) > 1:
        raise WillNotHeal("--count, --replay and --api are three sources.", "Give one of them.")
    if replay:
        events = _replayed(feed, replay)
    elif api:
        events = _polled(settings, cursor or kept / "sales_api.cursor", follow, poll_seconds)
    else:
        if settings.environment != EMBEDDED and not yes and count != 0:
            raise WillNotHeal(
                f"These are invented sales, and the environment is {settings.environment}.",
                "Add --yes to publish them there.",
            )
        shares = {"returns": returns, "late": late, "duplicates": duplicates, "broken": broken}
        events = _generated(COUNT if count is None else count, seed, days, start, shares)
    from streaming.feed_events import at_recorded_speed

    if speed:
        events = at_recorded_speed(events, speed)
    _publish(settings, events, metrics_file, rate=rate, patience=patience, spill=spill or kept / "spill")


def _generated(
    count: int, seed: int, days: int, start: datetime | None, shares: dict[str, float]
) -> Iterator[Any]:
    from streaming.generator import START, sale_events
    from streaming.shop import Shares

    if not count:
        return iter(())
    return sale_events(
        seed,
        count,
        start=start.date() if start else START,
        days=days,
        shares=Shares(shares["returns"], shares["late"]),
        duplicates=round(count * shares["duplicates"]),
        contract_breaks=round(count * shares["broken"]),
    )


def _replayed(feed: str, path: Path) -> Iterator[Any]:
    from blocks.feeds import load_feed
    from streaming.feed_events import feed_events

    return feed_events(load_feed(feed), path)


def _polled(settings: Settings, cursor: Path, follow: bool, poll_seconds: float) -> Iterator[Any]:
    from streaming.sales_api import Cursor, SalesApi, api_events

    if not (settings.sales_api_url and settings.sales_api_token):
        raise WillNotHeal(
            "There is no sales API to poll.", "Set SALES_SALES_API_URL and SALES_SALES_API_TOKEN."
        )
    api = SalesApi(settings.sales_api_url, settings.sales_api_token)
    return api_events(api, Cursor(cursor), follow=follow, poll_seconds=poll_seconds)


def _publish(settings: Settings, events: Iterator[Any], metrics_file: Path | None, **how: Any) -> None:
    from blocks.register import kafka_from
    from streaming.exposition import MetricsFile
    from streaming.producer import publish
    from streaming.report import PublishReport

    metrics = MetricsFile(metrics_file) if metrics_file else None
    bar = Progress(TextColumn(PROGRESS), TimeElapsedColumn(), console=progress)
    # All that was imported stays until the end: the collector need not look through it again and again.
    gc.freeze()
    with stop_requested() as stop, bar:
        task = bar.add_task("", total=None, rate=0, rest="")

        def tell(report: PublishReport) -> None:
            rest = f"{report.rejected:,} rejected, {report.queued:,} unconfirmed, {report.waiting:,} in the spill"
            bar.update(task, completed=report.taken, rate=report.taken / (report.seconds or 1), rest=rest)
            if metrics:
                metrics.update(report)

        try:
            report = publish(kafka_from(settings), events, on_progress=tell, stop=stop, **how)
        finally:
            if metrics:
                metrics.update(metrics.report, now=True)
    waiting = f", {report.waiting:,} wait in {how['spill']} for the next start" if report.waiting else ""
    output.print(
        f"{report.produced:,} published, {report.rejected:,} to the dead letters, {report.seconds:.1f} s{waiting}"
    )


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Give the function that says whether SIGTERM or SIGINT has come; a second one ends the process at once."""
    asked = threading.Event()
    before: dict[signal.Signals, Any] = {}

    def ask(_number: int, _frame: Any) -> None:
        asked.set()
        for each in before:
            signal.signal(each, signal.default_int_handler)

    for each in (signal.SIGTERM, signal.SIGINT):
        before[each] = signal.signal(each, ask)
    try:
        yield asked.is_set
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
