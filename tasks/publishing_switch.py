"""What keeps a run from publishing: the operators' switch, a Prefect Variable; or a backfill that is half done.

Meanwhile runs build and check, and readers see what they saw.
"""

from datetime import UTC, datetime

from prefect.variables import Variable

from blocks import names
from blocks.warehouse import SalesWarehouse
from tasks.backfill import UNFINISHED

OFF = (None, False, 0, "", "0", "no", "off", "false", "False")


def pause(by: str, reason: str = "") -> None:
    """Set the switch, with who, when and why. Setting it again replaces that."""
    value = {"by": by, "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "reason": reason}
    Variable.set(names.PUBLISHING_PAUSED, value, overwrite=True)


def resume() -> bool:
    """Take the switch away; tell whether it was set."""
    return bool(Variable.unset(names.PUBLISHING_PAUSED))


def why_paused() -> str:
    """Say since when, by whom and why publishing is paused; empty if it is not.

    Set by hand in Prefect's pages the switch may hold anything; what reads as no means not paused.
    """
    value = Variable.get(names.PUBLISHING_PAUSED)
    if value in OFF:
        return ""
    if not isinstance(value, dict):
        return f"Publishing is paused (the Prefect Variable {names.PUBLISHING_PAUSED} is {value})."
    reason = f": {value['reason']}" if value.get("reason") else ""
    return f"Publishing is paused since {value.get('since', '?')} by {value.get('by', '?')}{reason}."


def why_withheld(warehouse: SalesWarehouse) -> str:
    """Say why nothing may be published now: an operator paused it, or a backfill is half done; empty if nothing."""
    if paused := why_paused():
        return paused
    rows = warehouse.rows(
        "select backfill_id, feed, count(*) as chunks from MONITORING.BACKFILLS "  # noqa: S608
        f"where {UNFINISHED} group by backfill_id, feed order by backfill_id"
    )
    if not rows:
        return ""
    left = "; ".join(f"{row['backfill_id']} of {row['feed']}: {row['chunks']} chunks left" for row in rows)
    return f"A backfill is half done ({left}). Run it again to finish it, or give it up by sales backfill --abandon."
