"""The deadline: by a promised hour of every day readers have marts of a run of that day."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from prefect import task
from prefect.events import emit_event

from blocks import names
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.retries import RETRY

OVERDUE = "sales.marts.overdue"
# A run that finds nothing new leaves the marts as they are, which is as fresh as they can be.
LAST_GOOD = """
select max(finished_at) as finished_at
from MONITORING.PIPELINE_RUNS
where not contains(status, 'without_publishing')
"""


def is_overdue(last: datetime | None, now: datetime, zone: ZoneInfo) -> bool:
    """Say whether the last good run (UTC) was before this day began in the zone; `now` is aware."""
    morning = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return last is None or last.replace(tzinfo=UTC) < morning


@task(name="look at the deadline", **RETRY)
def look_at_deadline(time_zone: str) -> bool:
    """Emit `sales.marts.overdue` with {subject, message} if no run of this day has published; say if one has."""
    zone, now = ZoneInfo(time_zone), datetime.now(UTC)
    last = load_block(SalesWarehouse, names.WAREHOUSE).rows(LAST_GOOD)[0]["finished_at"]
    overdue = is_overdue(last, now, zone)
    if overdue:
        since = f"{last:%Y-%m-%d %H:%M} UTC" if last else "never"
        told = {
            "subject": f"Sales marts overdue: {now.astimezone(zone):%Y-%m-%d}",
            "message": f"Not published by {now.astimezone(zone):%H:%M} ({time_zone}). Last good run: {since}.",
        }
        emit_event(
            OVERDUE, {"prefect.resource.id": "sales.marts", "prefect.resource.name": "marts"}, payload=told
        )
    return not overdue
