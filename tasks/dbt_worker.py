"""The process in which dbt builds: freshness of the sources, the build (or what is left of it), the docs.

All in one process, because starting dbt takes three seconds, asking it for freshness and docs 0.2 and 0.6 s. Its
standard output is dbt's stream of JSON events; the artifacts are left in the target folder. Nothing of Prefect
is imported here.
"""

import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import get_args

from dbt.cli.main import dbtRunner

from tasks.dbt_freshness import STALE, RequireFresh, read_freshness, refusal

STOP_GRACE_SECONDS = 10
FLAGS = ("--log-format", "json", "--log-level-file", "none", "--no-use-colors", "--no-version-check")
NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")


def main() -> None:
    """Run dbt; the exit code is 0, 1 for failed nodes, 2 for no run at all, 3 for sources too old."""
    # As Ctrl-C does, SIGTERM lets dbt cancel the statements that it has running in the warehouse.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--require-fresh", choices=get_args(RequireFresh), default="any")
    parser.add_argument("--full-refresh", action="store_true")
    parser.add_argument("--retry", action="store_true", help="only what failed or was skipped in this target")
    parser.add_argument("--owner", type=int, help="the parent process, with which to end")
    options = parser.parse_args()
    if options.owner:
        threading.Thread(target=_end_with_owner, args=(options.owner,), daemon=True).start()
    sys.exit(
        build(options.project, options.target, options.require_fresh, options.full_refresh, options.retry)
    )


def _end_with_owner(owner: int) -> None:
    """End this process once its parent is gone, killed without a chance to end it.

    Else it would go on building, beside the next try.
    """
    while os.getppid() == owner:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def build(project: Path, target: Path, require_fresh: RequireFresh, full_refresh: bool, retry: bool) -> int:
    """Do what `main` says; see there for the code."""
    folders = ("--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(target))

    def dbt(*command: str) -> int:
        answer = dbtRunner().invoke([*FLAGS, *command, *folders])
        return 0 if answer.success else 2 if answer.exception else 1

    if retry:
        code = dbt("retry")
    else:
        dbt("source", "freshness")
        if refusal(read_freshness(target), require_fresh):
            return STALE
        code = dbt("build", *NO_UNIT_TESTS, *(["--full-refresh"] if full_refresh else []))
    if code == 0:
        # The manifest of the build is the documented one; what fails here spoils nothing.
        dbt("docs", "generate", "--static", "--no-compile")
    return code


if __name__ == "__main__":
    main()
