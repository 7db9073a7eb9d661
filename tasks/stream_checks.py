"""The stream's checks as plain functions: measurements in, findings out. What measures is in stream_watch."""

import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from blocks import names
from streaming.schema import SCHEMA_FILE
from tasks.findings import Finding, Status
from tasks.stream_limits import StreamLimits
from tasks.stream_trend import Progress, Trend


def judge_topics(partitions: Mapping[str, int], declared: int) -> Finding:
    """Hold the topics that are there, with their number of partitions, against what is declared."""
    wanted = f"{names.TOPIC} with {declared} partitions, {names.DEAD_LETTER_TOPIC}"
    missing = [topic for topic in (names.TOPIC, names.DEAD_LETTER_TOPIC) if topic not in partitions]
    if missing:
        advice = "Create it (Terraform), or correct the cluster's address and the login's rights."
        return Finding("topics", "fail", f"There is no topic {', '.join(missing)}.", wanted, advice)
    found = partitions[names.TOPIC]
    value = f"{names.TOPIC} has {found} partitions."
    if found == declared:
        return Finding("topics", "ok", value, wanted, measured=found)
    advice = (
        "Set SALES_KAFKA_TOPIC_PARTITIONS to it if it was meant, then `sales blocks register`. Keys go to other "
        "partitions after such a change, so order per order holds only from there on."
    )
    return Finding("topics", "warn", value, wanted, advice, measured=found)


def judge_lag(now: Progress, by_partition: Mapping[int, Trend], limits: StreamLimits) -> Finding:
    """Judge how far the sink is behind by whether, and when, it will have caught up."""
    total = sum(now.lag.values())
    catch_up = max((trend.catch_up_seconds for trend in by_partition.values()), default=0)
    backlog = max((trend.backlog_seconds for trend in by_partition.values()), default=0)
    wanted = f"caught up within {limits.catch_up_seconds:.0f} s"
    behind = {p: lag for p, lag in now.lag.items() if lag}
    value = f"{total:,} events behind"
    if behind:
        value += f" (by partition: {behind}), caught up {_in(catch_up)}"
    status: Status = "ok"
    if backlog > limits.keeps_pace_seconds and catch_up > limits.catch_up_seconds:
        status = "fail" if total >= limits.lag_fail_events else "warn"
    advice = (
        "The sink does not keep up. If its tasks run, see their log and the warehouse, and try "
        "`sales connector restart --all`; if it is merely slow, raise SALES_KAFKA_CONNECT_TASKS_MAX (up to the "
        "number of partitions) and `sales connector apply`."
    )
    said = advice if status != "ok" else ""
    return Finding("lag", status, f"{value}.", wanted, said, measured=total, details=now.as_details())


def _in(seconds: float) -> str:
    return f"in {seconds:,.0f} s" if math.isfinite(seconds) else "never"


def judge_landing(
    created: float | None, pushed: float | None, lag: int, now: float, limits: StreamLimits
) -> Finding:
    """Judge how fresh the newest landed event is (Unix seconds; None: nothing landed among the newest offsets).

    `created` is when it was made (CreateTime), `pushed` when the connector wrote it (SnowflakeConnectorPushTime,
    which a connector may be told to leave out). An old one is a fault of the sink only if events wait.
    """
    wanted = (
        f"landed within {limits.landing_warn_seconds:.0f} s while events wait, "
        f"within {limits.silence_warn_seconds:.0f} s otherwise"
    )
    newest = pushed or created
    if newest is None:
        return Finding("landing", "ok", "Nothing has landed yet.", wanted)
    age = max(0.0, now - newest)
    value = f"The newest landed event is {age:,.0f} s old"
    if created and pushed:
        value += f" and took {max(0.0, pushed - created):,.1f} s from producer to table"
    status, advice = _landing_status(age, lag, limits)
    return Finding("landing", status, f"{value}.", wanted, advice, measured=round(age, 3))


def _landing_status(age: float, lag: int, limits: StreamLimits) -> tuple[Status, str]:
    if lag and age > limits.landing_warn_seconds:
        status: Status = "fail" if age > limits.landing_fail_seconds else "warn"
        return status, (
            "Events wait and none lands, whatever state the connector shows: see its tasks' log (a refused "
            "login, a locked table), then `sales connector restart --all`."
        )
    if not lag and age > limits.silence_warn_seconds:
        return "warn", "Nothing waits on the topic either: see whether the producers run."
    return "ok", ""


def judge_dead_letters(
    offsets: Mapping[int, tuple[int, int]], ends_before: Mapping[int, int] | None, limits: StreamLimits
) -> Finding:
    """Judge how many dead letters there are, and how many came since the last look.

    `offsets` are (start, end) by partition of their topic; `ends_before` the ends at the last look, None if there
    was none, when all of them are new.
    """
    depth = sum(end - start for start, end in offsets.values())
    known = ends_before or {}
    growth = sum(max(0, end - max(start, known.get(p, start))) for p, (start, end) in offsets.items())
    status: Status = "ok" if growth == 0 else "fail" if growth >= limits.dead_letters_fail else "warn"
    wanted = f"no new ones; from {limits.dead_letters_fail:,} on a failure"
    advice = f"See what is wrong with them on {names.DEAD_LETTER_TOPIC} (`sales connector dlq show`)."
    value = f"{depth:,} dead letters, {growth:,} of them new."
    details = {"ends": {p: end for p, (_start, end) in offsets.items()}}
    return Finding("dead letters", status, value, wanted, advice if growth else "", growth, details)


def judge_schema(events: Iterable[Any], limits: StreamLimits) -> Finding:
    """Hold the fields of the newest landed events against the event schema.

    Single events with other fields are bad events, which staging rejects; drift is when many have them.
    """
    known, required = schema_fields()
    seen = strange = 0
    unknown: set[str] = set()
    missing: set[str] = set()
    for event in events:
        fields = set(event) if isinstance(event, dict) else set()
        seen += 1
        strange += bool(fields - known or required - fields)
        unknown |= fields - known
        missing |= required - fields
    share = strange / seen if seen else 0.0
    status: Status = "ok"
    if share >= limits.drift_warn_share:
        status = "fail" if share >= limits.drift_fail_share else "warn"
    value = f"{strange} of the newest {seen} events have other fields than {SCHEMA_FILE.stem}"
    if strange:
        value += f" (unknown: {sorted(unknown) or 'none'}, missing: {sorted(missing) or 'none'})"
    advice = (
        "A producer has changed its events: have it keep to the schema, or add a version of the schema "
        "(streaming/events/) and teach staging to read it."
    )
    wanted = f"less than {limits.drift_warn_share:.0%} of them"
    said = advice if status != "ok" else ""
    return Finding("event schema", status, f"{value}.", wanted, said, measured=round(share, 3))


@cache
def schema_fields() -> tuple[frozenset[str], frozenset[str]]:
    """Read which fields the event schema knows and which it requires."""
    schema = json.loads(SCHEMA_FILE.read_text())
    return frozenset(schema["properties"]), frozenset(schema["required"])
