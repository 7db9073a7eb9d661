"""Source freshness: what dbt found about the age of the sources, and whether the models may be built on it."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

# Which sources must be within their error_after: every one, any one of them, or none (they are only told).
RequireFresh = Literal["all", "any", "none"]
# The exit code by which tasks.dbt_worker says that the sources are too old.
STALE = 3
# dbt gives a table without rows the first day there is.
NO_ROWS_BEFORE = datetime(1900, 1, 1).date()


@dataclass(frozen=True)
class Freshness:
    """One source table as `dbt source freshness` found it.

    `status`: pass; warn or error when older than warn_after or error_after; empty for a table without rows, as
    before the first load; runtime error where it could not be asked. `hours`: age of the newest row.
    """

    source: str
    status: str
    hours: float | None = None
    error_after: str = ""

    def __str__(self) -> str:
        age = f", newest row {self.hours:,.0f} h old" if self.hours is not None else ""
        limit = f", error after {self.error_after}" if self.error_after else ""
        return f"{self.source}: {self.status}{age}{limit}"


def read_freshness(target: Path) -> list[Freshness]:
    """Read dbt's `sources.json` of a target folder; nothing if dbt ended before it wrote one."""
    path = target / "sources.json"
    if not path.exists():
        return []
    return [_freshness(found) for found in json.loads(path.read_text())["results"]]


def _freshness(found: dict[str, object]) -> Freshness:
    source = ".".join(str(found["unique_id"]).split(".")[2:])
    newest = found.get("max_loaded_at")
    if newest is None:
        return Freshness(source, str(found["status"]))
    limit = dict(found["criteria"]).get("error_after") or {}  # type: ignore[call-overload]
    said = f"{limit['count']} {limit['period']}s" if limit.get("count") else ""
    if datetime.fromisoformat(str(newest)).date() < NO_ROWS_BEFORE:
        return Freshness(source, "empty", None, said)
    hours = float(str(found["max_loaded_at_time_ago_in_s"])) / 3600
    return Freshness(source, str(found["status"]), round(hours, 2), said)


def refusal(found: list[Freshness], required: RequireFresh) -> str:
    """Say why the models may not be built on these sources; empty if they may.

    With `any`, the default, one source that has gone quiet does not hold back the data of the other. A source
    that is empty or could not be asked holds nothing back: the build itself meets the same trouble.
    """
    aged = [source for source in found if source.status in {"pass", "warn", "error"}]
    stale = [source for source in aged if source.status == "error"]
    if not stale or required == "none" or (required == "any" and len(stale) < len(aged)):
        return ""
    return (
        f"Stale sources: {'; '.join(map(str, stale))}. Nothing was built and the marts stay as they were. Find out "
        "why nothing is loaded any more, or run the flow with require_fresh=none to build on what there is."
    )
