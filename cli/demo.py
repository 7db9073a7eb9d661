"""`sales demo`: the whole pipeline on this machine, in one command; `sales run`: one run of the main flow."""

import importlib
import json
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from blocks.errors import WillNotHeal
from blocks.settings import (
    Settings,
    StackSettings,
    embedded_settings_file,
    load_settings,
    load_stack_settings,
)
from cli.console import output, prefect_at, prepare_prefect, progress, say, settings_or_fail, step
from local.stack import Stack, owner, running

HEAVY_IMPORTS = ("blocks.register", "flows.run_sales_pipeline", "great_expectations")
SEED = 7
STORE_FILES, STORE_ROWS = 5, 20_000
OWN_FEED = "store_sales"
# Of a hundred events one is sent twice, and of two hundred one is broken in each of two ways.
FAULT_SHARES = {"duplicates": 0.01, "invalid_json": 0.005, "contract_breaks": 0.005}

Feed = Annotated[
    str, typer.Option("--feed", help="Which CSV feed the files belong to; see `sales feeds list`.")
]
Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="A CSV file (plain, .gz or in a .zip), or a folder of them, of that feed. "
        "Without it: generated store sales.",
    ),
]
Events = Annotated[int, typer.Option("--events", min=0, help="How many sales events to publish to Kafka.")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the stack up afterwards, to look around.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="Build and publish everything, even with nothing new.")
]


def demo(
    feed: Feed = OWN_FEED,
    input_path: Input = None,
    events: Events = 2000,
    keep: Keep = False,
    as_json: Json = False,
    rebuild: Rebuild = False,
) -> None:
    """Run the whole pipeline on this machine with no account: start the services, feed them, run, report.

    What was loaded once is not loaded again: a second run with the same input changes no row. The data stays
    in .sales (SALES_HOME); delete that folder to begin anew.
    """
    where = load_stack_settings()
    prepare_prefect(where.home, embedded=True)
    files = input_files(feed, input_path)
    with terminated_as_interrupt(), imports_ahead() as imports, stack(where, keep) as settings:
        imports.join()
        from cli.stack import prepare

        with prefect_at(settings):
            prepare(settings)
            fill_drop(settings, feed, files, input_path)
            publish_events(settings, where.home, events)
            # What fill_drop puts there appears whole.
            summary = run_flow(feed, rebuild, settle_seconds=0)
            show(settings, where.build, summary, as_json)
        if keep:
            ui = (settings.prefect_api_url or "").removesuffix("/api")
            say(f"The stack stays up; Prefect's UI is {ui}. `sales down` stops it.")
    if not summary["batch"]["files"] and summary["batch"]["refused_files"]:
        refused = summary["batch"]["refused_files"][0]
        raise WillNotHeal(f"No file could be loaded. {refused['file']} {refused['reason']}")


@contextmanager
def imports_ahead() -> Iterator[threading.Thread]:
    """Import, while the servers start, what takes ten seconds to import, in the thread given.

    Whoever needs these modules joins it: two threads that import the same ones may lock each other
    out. The thread is never left behind: an interpreter that ends during its imports may abort.
    """
    unwanted = threading.Event()

    def import_each() -> None:
        for module in HEAVY_IMPORTS:
            if not unwanted.is_set():
                importlib.import_module(module)

    thread = threading.Thread(target=import_each)
    thread.start()
    try:
        yield thread
    finally:
        unwanted.set()
        thread.join()


def run(feed: Feed = OWN_FEED, as_json: Json = False, rebuild: Rebuild = False) -> None:
    """Run the main flow once, here and now, against the environment that is configured."""
    where = load_stack_settings()
    prepare_prefect(where.home)
    settings = settings_or_fail()
    with terminated_as_interrupt(), prefect_at(settings):
        show(settings, where.build, run_flow(feed, rebuild), as_json)


def input_files(feed_name: str, path: Path | None) -> list[Path]:
    """List the files to feed in. Raises WillNotHeal, before anything starts, if none can be loaded."""
    from blocks.feeds import load_feed
    from tasks.file_check import nothing_to_load

    feed = load_feed(feed_name)
    if path is None:
        if feed_name != OWN_FEED:
            raise WillNotHeal(
                f"Only {OWN_FEED} can be generated. Give the files of {feed_name} with --input."
            )
        return []
    if not path.exists():
        raise WillNotHeal(f"--input {path} does not exist. Give a CSV file or a folder of them.")
    if path.is_file() and not fnmatch(path.name, feed.glob):
        raise WillNotHeal(
            f"--input {path.name} does not match {feed.glob}, which the feed {feed_name} takes."
        )
    found = [path] if path.is_file() else sorted(file for file in path.rglob(feed.glob) if file.is_file())
    if not found:
        raise WillNotHeal(
            f"--input {path} has no file matching {feed.glob}, which the feed {feed_name} takes."
        )
    faults = [fault for file in found if (fault := nothing_to_load(feed, file))]
    if len(faults) == len(found):
        raise WillNotHeal("None of the files can be loaded. " + " ".join(faults[:3]))
    return found


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does, so that everything it started is stopped."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stack(where: StackSettings, keep: bool) -> Iterator[Settings]:
    """Give the settings of a running stack: the one that is up, or one for the time of the `with`."""
    home = where.home.resolve()
    with ExitStack() as until_done:
        if embedded_settings_file(home).exists() and (pid := owner(home)):
            say(f"Using the stack that is up (process {pid}).")
        elif keep:
            from cli.stack import _start_in_background

            with step("embedded stack started"):
                _start_in_background(where)
        else:
            with step("embedded stack started"):
                until_done.enter_context(_owned(where))
        yield load_settings(home)


@contextmanager
def _owned(where: StackSettings) -> Iterator[Stack]:
    def tell(name: str, seconds: float) -> None:
        progress.print(f"  [dim]{name} ready after {seconds:.1f} s[/]")

    with running(where, tell) as started:
        yield started
        say("Stopping the embedded stack.")


def fill_drop(settings: Settings, feed: str, files: list[Path], given: Path | None) -> None:
    """Put the input files, or generated ones, where files arrive."""
    drop = Path(settings.drop_url.removeprefix("file://")) / feed
    drop.mkdir(parents=True, exist_ok=True)
    if not files:
        from streaming.generator import write_store_files

        with step(f"{STORE_FILES} CSV files with {STORE_ROWS:,} sales lines generated"):
            write_store_files(drop, SEED, STORE_FILES, STORE_ROWS)
    for file in files:
        target = drop / file.relative_to(given if given and given.is_dir() else file.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(file, partial)
        partial.replace(target)


def publish_events(settings: Settings, home: Path, count: int) -> None:
    """Publish generated events, once: the same number again is the same events, which are there already."""
    note = home.resolve() / "published_events.json"
    published = json.loads(note.read_text()) if note.exists() else []
    if not count or count in published:
        return
    from blocks.register import kafka_from
    from streaming.generator import sale_events
    from streaming.producer import publish

    faults = {name: int(count * share) for name, share in FAULT_SHARES.items()}
    events = sale_events(SEED + len(published), count - sum(faults.values()), **faults)  # type: ignore[arg-type]
    with step(f"{count:,} sales events published to Kafka"):
        publish(kafka_from(settings), events, validate=False)
    note.write_text(json.dumps([*published, count]))


def run_flow(feed: str, rebuild: bool, **parameters: Any) -> dict[str, Any]:
    """Run the main flow in this process and give its summary."""
    from flows.run_sales_pipeline import run_sales_pipeline

    with step("run-sales-pipeline"):
        return run_sales_pipeline(feed, rebuild=rebuild, **parameters)


def show(settings: Settings, build: Path, summary: dict[str, Any], as_json: bool) -> None:
    """Print the summary and leave it, with the report, in the build folder."""
    from blocks.register import warehouse_from
    from cli.report import write_report
    from tasks.summary import sections

    build.mkdir(parents=True, exist_ok=True)
    (build / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    report = write_report(warehouse_from(settings), summary, build / "report.html")
    if as_json:
        output.print_json(json.dumps(summary))
        return
    table = Table(title=f"Sales pipeline, {date.today().isoformat()}: {summary['status']}")
    table.add_column("")
    table.add_column("", justify="right")
    for title, lines in sections(summary):
        table.add_row(f"[bold]{title}[/]", "")
        for label, value in lines:
            table.add_row(f"  {label}", value)
    output.print(table)
    output.print(f"Report: {report}")
    sys.stdout.flush()
