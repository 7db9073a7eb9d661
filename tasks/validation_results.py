"""What checks found: written to MONITORING.VALIDATION_RESULTS, read as history, told to people."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from blocks.errors import WillNotHeal
from blocks.warehouse import SalesWarehouse
from tasks.suites import STOP
from tasks.warehouse import transaction

TOLD_CHECKS = 8
OBSERVED_LENGTH = 1000
# The first moment that is judged in a warehouse whose gate never let anything pass.
BEGINNING = datetime(1970, 1, 1)

INSERT = """
insert into MONITORING.VALIDATION_RESULTS (run_id, layer, table_name, check_id, series, subject, severity, success,
    observed, observed_value, unexpected_count, rows_judged, sample_keys, judged_at)
select %s, %s, f.value:table::varchar, f.value:check_id::varchar, f.value:series::varchar, f.value:subject::varchar,
    f.value:severity::varchar, f.value:success::boolean, f.value:observed::varchar,
    f.value:value::varchar::number(38, 6), f.value:unexpected::number(38, 0), f.value:rows::number(38, 0),
    f.value:keys, sysdate()
from table(flatten(input => parse_json(%s))) f
"""
# An hour's overlap: a row may become visible after the moment it is stamped with.
PASSED = """
select dateadd(hour, -1, max(judged_at)) as passed_at from (
    select run_id, min(judged_at) as judged_at
    from MONITORING.VALIDATION_RESULTS
    where layer = %s and run_id <> %s
    group by run_id
    having count_if(not success and severity = 'stop') = 0
)
"""
RUNS = """
select run_id, layer, max(judged_at) as judged_at, count(*) as results,
    count_if(not success and severity = 'stop') as stopping, count_if(not success and severity = 'warn') as warning
from MONITORING.VALIDATION_RESULTS
group by run_id, layer order by judged_at desc, layer desc limit %s
"""
RUN = """
select run_id, layer, table_name, check_id, series, subject, severity, success, observed, observed_value,
    unexpected_count, rows_judged, sample_keys, judged_at
from MONITORING.VALIDATION_RESULTS where run_id = %s
order by success, severity, layer desc, table_name, check_id, series, subject
"""
TREND = """
select judged_at, run_id, series, subject, success, observed, observed_value, unexpected_count, rows_judged
from MONITORING.VALIDATION_RESULTS where upper(table_name) = upper(%s) and check_id = %s
order by judged_at desc, series, subject desc limit %s
"""
ACCEPT = """
insert into MONITORING.ACCEPTED_ANOMALIES (table_name, check_id, series, subject, reason, accepted_at)
select %s, %s, %s, %s, %s, sysdate()
"""


@dataclass(frozen=True)
class CheckResult:
    """One judged check.

    `observed` says in short what was found; `value` is the number in it, `unexpected` the rows that broke the
    check (None: not counted), of `rows` judged (None: not known); `keys` are keys of some of those rows. A check
    that judges several things names each by `series` (the source) and `subject` (the batch, the day). `unit` is
    what the rows are.
    """

    table: str
    check_id: str
    severity: str
    success: bool
    observed: str
    value: float | None = None
    unexpected: int | None = None
    rows: int | None = None
    keys: tuple[dict[str, Any], ...] = ()
    series: str | None = None
    subject: str | None = None
    unit: str = "rows"

    @property
    def name(self) -> str:
        """Give the name by which people find the check: TABLE.check."""
        return f"{self.table}.{self.check_id}"

    @property
    def stops(self) -> bool:
        """Say whether this keeps readers from what was judged."""
        return not self.success and self.severity == STOP

    def in_words(self) -> str:
        """Say which check, of what, how many rows, and the key of one of them."""
        about = f" ({self.series} {self.subject})" if self.series else ""
        of_all = "" if self.rows is None else f" of {self.rows:,}"
        rows = "" if self.unexpected is None else f"{self.unexpected:,}{of_all} {self.unit}"
        example = f"for example {keys_in_words(self.keys[0])}" if self.keys else ""
        return f"{self.name}{about}: " + "; ".join(part for part in (rows, self.observed, example) if part)


def record(warehouse: SalesWarehouse, run_id: str, layer: str, results: list[CheckResult]) -> None:
    """Write what a run found of a layer, in place of what the same run found before."""
    rows = json.dumps([asdict(result) for result in results], default=str)
    with warehouse.session(query_tag="sales-checks") as connection, transaction(connection) as cursor:
        cursor.execute(
            "delete from MONITORING.VALIDATION_RESULTS where run_id = %s and layer = %s", (run_id, layer)
        )
        cursor.execute(INSERT, (run_id, layer, rows))


def judged_since(warehouse: SalesWarehouse, layer: str, run_id: str = "") -> dict[str, Any]:
    """Give the moment from which rows are new to a layer's gate (UTC), as text and in milliseconds.

    It is when the gate last let everything pass, whatever became of that run: rows that stopped a run are judged
    again until they are gone. What `run_id` itself has written, in a try before this one, does not count.
    """
    passed = warehouse.rows(PASSED, (layer, run_id))[0]["passed_at"] or BEGINNING
    milliseconds = int(passed.replace(tzinfo=UTC).timestamp() * 1000)
    return {"judged_since": passed.isoformat(sep=" "), "judged_since_ms": milliseconds}


def verdict(run_id: str, layer: str, results: Iterable[CheckResult]) -> None:
    """Raise WillNotHeal naming each check that stops: how many rows, what was seen, where to look for more."""
    failed = [result for result in results if result.stops]
    if not failed:
        return
    lines = [result.in_words() for result in failed[:TOLD_CHECKS]]
    if len(failed) > TOLD_CHECKS:
        lines.append(f"… and {len(failed) - TOLD_CHECKS} more")
    raise WillNotHeal(
        f"{len(failed)} checks of layer {layer} failed; the marts stay as they were. Which rows: "
        f"`sales validations show {run_id}`, or the artifact {artifact_key(layer)}.\n  " + "\n  ".join(lines)
    )


def artifact_key(layer: str) -> str:
    """Name the artifact that shows a layer's results."""
    return f"validation-{layer.replace('_', '-')}"


def as_table(results: Iterable[CheckResult]) -> list[dict[str, Any]]:
    """Give results as rows that people read, what failed first; keys of failing rows and no other column of them."""
    marks = {True: "✅", False: "⚠️"}
    return [
        {
            "": "❌" if r.stops else marks[r.success],
            "check": r.name,
            "of": " ".join(part for part in (r.series, r.subject) if part),
            "severity": r.severity,
            "failing rows": "" if r.unexpected is None else r.unexpected,
            "rows": "" if r.rows is None else r.rows,
            "seen": r.observed,
            "keys": "; ".join(keys_in_words(key) for key in r.keys),
        }
        for r in sorted(results, key=lambda r: (r.success, not r.stops, r.name, r.subject or ""))
    ]


def keys_in_words(key: dict[str, Any]) -> str:
    """Give a row's key in one line."""
    return ", ".join(f"{name} {value}" for name, value in key.items())


def read_runs(warehouse: SalesWarehouse, limit: int = 20) -> list[dict[str, Any]]:
    """Read the newest judgements, one per run and layer: results, how many stop, how many warn."""
    return warehouse.rows(RUNS, (limit,))


def read_run(warehouse: SalesWarehouse, run_id: str | None = None) -> list[dict[str, Any]]:
    """Read every result of a run (the newest unless told), what failed first; `sample_keys` as a list of keys.

    Raises WillNotHeal if no such run has judged anything.
    """
    run = run_id or next((newest["run_id"] for newest in read_runs(warehouse, 1)), "")
    rows = warehouse.rows(RUN, (run,))
    if not rows:
        raise WillNotHeal(
            f"No run {run} has judged anything." if run else "No run has judged anything yet.",
            "`sales validations list` shows those that have.",
        )
    return [row | {"sample_keys": json.loads(row["sample_keys"] or "[]")} for row in rows]


def read_trend(warehouse: SalesWarehouse, table: str, check_id: str, limit: int = 30) -> list[dict[str, Any]]:
    """Read what a check saw, the newest first. Raises WillNotHeal if it never judged anything."""
    rows = warehouse.rows(TREND, (table, check_id, limit))
    if not rows:
        raise WillNotHeal(f"{table}.{check_id} has judged nothing.", "`sales validations show` names checks.")
    return rows


def accept(warehouse: SalesWarehouse, check: str, series: str, subject: str, reason: str) -> None:
    """Note that an unusual subject is right, so that the check (TABLE.check_id) lets it pass from now on.

    Raises WillNotHeal if that check does not hold this subject for unusual.
    """
    table, _, check_id = check.partition(".")
    newest = warehouse.rows(
        "select success from MONITORING.VALIDATION_RESULTS where table_name = %s and check_id = %s "
        "and series = %s and subject = %s qualify row_number() over (order by judged_at desc) = 1",
        (table, check_id, series, subject),
    )
    if not newest or newest[0]["success"]:
        raise WillNotHeal(
            f"{check} holds nothing against {series} {subject}.",
            "`sales validations show` names what is held against what.",
        )
    with warehouse.session(query_tag="sales-checks") as connection, connection.cursor() as cursor:
        cursor.execute(ACCEPT, (table, check_id, series, subject, reason))
