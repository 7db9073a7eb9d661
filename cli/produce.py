"""`sales produce`: publish sales events to Kafka."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from blocks.errors import WillNotHeal
from blocks.settings import EMBEDDED, load_stack_settings
from cli.console import output, prepare_prefect, progress, settings_or_fail


def produce(
    count: Annotated[
        int, typer.Option("--count", min=1, help="How many generated events to publish.")
    ] = 1000,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the generator; the same seed is the same events.")
    ] = 1,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", exists=True, dir_okay=False, help="Publish this store_sales CSV instead."),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option("--speed", min=0.001, help="Replay at this multiple of the recorded speed."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Publish generated events to a real environment.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="At most so many events a second.")
    ] = None,
) -> None:
    """Publish sales events: generated ones, or a CSV replayed. Delivery of each is confirmed by the cluster."""
    prepare_prefect(load_stack_settings().home)
    from blocks.register import kafka_from
    from streaming.generator import sale_events
    from streaming.producer import at_recorded_speed, csv_events, publish

    settings = settings_or_fail()
    if settings.environment != EMBEDDED and not replay and not yes:
        raise WillNotHeal(
            f"These are invented sales, and the environment is {settings.environment}. Add --yes to publish them there."
        )
    events = csv_events(replay, "web_shop") if replay else sale_events(seed, count)
    if replay and speed:
        events = at_recorded_speed(events, speed)  # type: ignore[arg-type]
    bar = Progress(TextColumn("{task.completed:,.0f} events"), TimeElapsedColumn(), console=progress)
    with bar:
        task = bar.add_task("")
        report = publish(
            kafka_from(settings),
            events,
            rate=rate,
            on_progress=lambda n: bar.update(task, completed=n),
        )
    output.print(
        f"{report.produced:,} published, {report.rejected:,} to the dead letters, {report.seconds:.1f} s"
    )
