"""Recording the class archive by which later Spark runs start faster: a small batch, run aside at low priority.

A JVM that records its classes is half as slow again and then writes for seconds, so no user's run does it.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path

from blocks.feeds import JOBS, job_spec, load_contract, load_feed
from local.process_groups import end_group, group_gone
from local.spark_runtime import SparkRuntime

FEED = "store_sales"
LINES = (
    'T1,1,P1,"Lamp, large",Home,C1,consumer,Spain,2,9.99,EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z',
    "T1,2,P2,Shade,Home,,,Spain,1,4.50,EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z",
    "T1,3,broken",
)
LONGEST_SECONDS = 300


async def record_classes(runtime: SparkRuntime, folder: Path) -> None:
    """Run the batch job on three lines and keep the classes it used; a failure changes nothing.

    `folder` is the run's own, and is removed afterwards.
    """
    process = await asyncio.create_subprocess_exec(
        *(
            "nice",
            "-n",
            "19",
            sys.executable,
            str(JOBS / "sales_batch.py"),
            "--spec",
            _write_batch(folder).as_uri(),
        ),
        env=runtime.environment(folder, {}, record=True),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    written = False
    try:
        # The JVM outlives the script: it writes the archive when it ends.
        async with asyncio.timeout(LONGEST_SECONDS):
            written = await process.wait() == 0 and await group_gone(process.pid, LONGEST_SECONDS)
    except TimeoutError:
        pass
    finally:
        await end_group(process.pid)
        runtime.end_recording(keep=written)
        shutil.rmtree(folder, ignore_errors=True)


def _write_batch(folder: Path) -> Path:
    feed = load_feed(FEED)
    source, spec = folder / "training.csv", folder / "training.json"
    source.write_text("\n".join([",".join(feed.columns), *LINES, LINES[0]]))
    files = [{"uri": source.as_uri(), "name": source.name, "checksum": "training"}]
    order = job_spec(feed, load_contract(), "training", files, (folder / "out").as_uri())
    spec.write_text(json.dumps(order))
    return spec
