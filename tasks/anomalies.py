"""What is unusual: each new batch and each new day is held against what the same check saw before.

Medians and their deviations, not means: one bad day in the history moves them little.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from statistics import median
from typing import Any

from blocks.warehouse import SalesWarehouse
from tasks.suites import query_of, read_anomalies
from tasks.validation_results import CheckResult

KEPT_VALUES = 60
ENOUGH_HISTORY = 5
# A value further from the median than 8 scaled MADs is no chance: normal values scatter within 3.
SPREADS, MAD_TO_SIGMA = 8, 1.4826
DIGITS = 6  # of VALIDATION_RESULTS.observed_value
HISTORY = """
select check_id, series, subject, observed_value from (
    select check_id, series, subject, observed_value, judged_at
    from MONITORING.VALIDATION_RESULTS
    where table_name = %s and run_id <> %s and success and series is not null and observed_value is not null
    qualify row_number() over (partition by check_id, series, subject order by judged_at desc) = 1
)
qualify row_number() over (partition by check_id, series order by judged_at desc, subject desc) <= %s
"""
ACCEPTED = """
select check_id, series, subject, reason from MONITORING.ACCEPTED_ANOMALIES where table_name = %s
"""
History = dict[str, float]  # subject -> value, of one check and series


@dataclass(frozen=True)
class Bounds:
    """What is usual: between low and high, around the median of so many values."""

    low: float
    high: float
    middle: float
    values: int

    def hold(self, value: float) -> bool:
        """Say whether a value is usual."""
        return self.low <= value <= self.high


def bounds(check: dict[str, Any], history: History, season: History) -> Bounds:
    """Say what a check calls usual after this history; `season` is the part of it that is most alike, if any.

    The keys above_times, below_times, apart_times and apart are explained in expectations/anomalies.yml.
    """
    middle = median(history.values())
    alike = median(season.values()) if season else middle
    spread = SPREADS * MAD_TO_SIGMA * median(abs(value - middle) for value in history.values())
    low, high = -math.inf, math.inf
    if "above_times" in check:
        top = max(middle, alike)
        high = max(check["above_times"] * top, top + spread, check.get("least", 0))
    if "below_times" in check:
        low = check["below_times"] * min(middle, alike)
    if "apart" in check or "apart_times" in check:
        reach = max(spread, check.get("apart", 0), check.get("apart_times", 0) * abs(middle))
        low, high = middle - reach, middle + reach
    return Bounds(low, high, middle, len(history))


def judge(
    declared: dict[str, Any],
    check: dict[str, Any],
    row: dict[str, Any],
    history: History,
    accepted: str | None,
) -> CheckResult:
    """Judge one subject by one check; `accepted` is the reason for which a person let it pass.

    `unexpected` of what is unusual counts the subject's rows, or where there are too few (below_times), those
    that are missing to the median.
    """
    value, subject = round(float(row[check["measure"]]), DIGITS), row["subject"]
    earlier = {other: seen for other, seen in history.items() if other != subject}
    said = f"{check['measure'].replace('_', ' ')} {value:,.6g}"
    result = CheckResult(
        *(declared["table"], check["id"], check["severity"], True, said, value, 0, int(row["rows_judged"])),
        series=row["series"],
        subject=subject,
    )
    if len(earlier) < ENOUGH_HISTORY:
        return replace(result, observed=f"{said}; not enough history: {len(earlier)} of {ENOUGH_HISTORY}")
    usual = bounds(check, earlier, _same_weekday(subject, earlier) if declared.get("weekdays") else {})
    said += f", usual is {_range(usual)} (median {usual.middle:,.6g} of {usual.values})"
    if usual.hold(value) or accepted is not None:
        said += "" if usual.hold(value) else f"; accepted: {accepted}"
        return replace(result, observed=said)
    if "below_times" in check:
        missing, expected = round(usual.middle - value), round(usual.middle)
        return replace(
            result, observed=said, success=False, unexpected=missing, rows=expected, unit="rows missing"
        )
    return replace(result, observed=said, success=False, unexpected=result.rows)


def _range(usual: Bounds) -> str:
    ends = ((usual.low, "at least"), (usual.high, "at most"))
    return " and ".join(f"{word} {end:,.6g}" for end, word in ends if math.isfinite(end))


def _same_weekday(subject: str, history: History) -> History:
    weekday = date.fromisoformat(subject).weekday()
    return {day: value for day, value in history.items() if date.fromisoformat(day).weekday() == weekday}


def judge_all(
    declared: dict[str, Any],
    observed: Iterable[dict[str, Any]],
    histories: dict[tuple[str, str], History],
    accepted: dict[tuple[str, str, str], str],
) -> list[CheckResult]:
    """Judge every subject by every check; one that passed before with the very same value is left alone.

    Results that passed are kept for the newest KEPT_VALUES subjects of a series: more is never read again.
    """
    results: dict[tuple[str, str], list[CheckResult]] = defaultdict(list)
    for row in observed:
        for check in declared["checks"]:
            place = (check["id"], row["series"])
            known = histories.get(place, {})
            value = row[check["measure"]]
            if value is None or known.get(row["subject"]) == round(float(value), DIGITS):
                continue
            reason = accepted.get((*place, row["subject"]))
            results[place].append(judge(declared, check, row, known, reason))
    return [result for judged in results.values() for result in _kept(judged)]


def _kept(judged: list[CheckResult]) -> list[CheckResult]:
    newest = sorted(judged, key=lambda result: result.subject or "")
    return [r for r in newest[:-KEPT_VALUES] if not r.success] + newest[-KEPT_VALUES:]


def find_anomalies(
    warehouse: SalesWarehouse, layer: str, since: dict[str, Any], run_id: str = ""
) -> list[CheckResult]:
    """Judge what is new in a layer against the history of each table; see expectations/anomalies.yml."""
    results = []
    for declared in read_anomalies(layer):
        observed = warehouse.rows(query_of(declared, since))
        history = warehouse.rows(HISTORY, (declared["table"], run_id, KEPT_VALUES))
        accepted = warehouse.rows(ACCEPTED, (declared["table"],))
        results += judge_all(
            declared,
            observed,
            _by_check_and_series(history),
            {(row["check_id"], row["series"], row["subject"]): row["reason"] for row in accepted},
        )
    return results


def _by_check_and_series(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], History]:
    histories: dict[tuple[str, str], History] = defaultdict(dict)
    for row in rows:
        histories[row["check_id"], row["series"]][row["subject"]] = float(row["observed_value"])
    return histories
