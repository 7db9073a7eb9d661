"""The stream's checks on numbers: when is a lag a fault, what is fresh, what is drift, what is news."""

import json
import math

import pytest

from streaming.generator import sale_events
from tasks.findings import Finding, message, news_since, overall
from tasks.stream_checks import (
    judge_dead_letters,
    judge_lag,
    judge_landing,
    judge_schema,
    judge_topics,
)
from tasks.stream_limits import LIMITS, StreamLimits
from tasks.stream_trend import Progress, Trend, trends


def look(at: float, passed: dict[int, int], ends: dict[int, int]) -> Progress:
    return Progress(at, passed, ends)


def test_a_trend_is_events_a_second_and_the_time_until_the_lag_is_gone():
    before = look(100, {0: 0, 1: 500, 2: 10}, {0: 1000, 1: 500, 2: 20})
    now = look(110, {0: 600, 1: 500, 2: 10}, {0: 1200, 1: 500, 2: 120})
    found = trends(before, now)
    assert found[0] == Trend(lag=600, consumed=60, produced=20)
    assert found[0].catch_up_seconds == 600 / (60 - 20)
    assert found[0].backlog_seconds == 10
    assert (found[1].catch_up_seconds, found[1].backlog_seconds) == (0, 0)
    assert (found[2].catch_up_seconds, found[2].backlog_seconds) == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("trend", "seconds"),
    [
        (Trend(0, 0, 0), 0),
        (Trend(0, 5, 50), 0),
        (Trend(100, 20, 10), 10),
        (Trend(100, 10, 10), 10),  # stands still while it moves: what waits now takes 10 s
        (Trend(100, 10, 11), math.inf),
        (Trend(100, 0, 0), math.inf),  # stuck
        (Trend(1, 0, 100), math.inf),
    ],
)
def test_catch_up(trend, seconds):
    assert trend.catch_up_seconds == seconds


def test_a_partition_that_is_new_and_offsets_that_went_back_break_nothing():
    before, now = look(0, {0: 900}, {0: 1000}), look(10, {0: 5, 1: 0}, {0: 10, 1: 30})
    assert trends(before, now) == {0: Trend(5, 0, 0), 1: Trend(30, 0, 3)}


def test_a_look_survives_the_warehouse():
    kept = json.loads(json.dumps(look(1.5, {0: 3, 11: 4}, {0: 5, 11: 6}).as_details()))
    assert Progress.from_details(kept) == look(1.5, {0: 3, 11: 4}, {0: 5, 11: 6})


def lag_finding(consumed_to: int, end: int, seconds: float = 100, limits: StreamLimits = LIMITS) -> Finding:
    before, now = look(0, {0: 0}, {0: end // 2}), look(seconds, {0: consumed_to}, {0: end})
    return judge_lag(now, trends(before, now), limits)


def test_lag():
    assert (lag_finding(50, 50).status, lag_finding(50, 50).value) == ("ok", "0 events behind.")
    growing = lag_finding(1_000, 40_000)
    assert (growing.status, growing.measured) == ("fail", 39_000)
    assert growing.value == "39,000 events behind (by partition: {0: 39000}), caught up never."
    assert "sales connector restart --all" in growing.advice
    assert growing.details == {"at": 100, "passed": {0: 1_000}, "ends": {0: 40_000}}
    stuck = lag_finding(0, 60)
    assert (stuck.status, "never" in stuck.value) == ("warn", True)
    slow = lag_finding(80_000, 150_000)
    assert slow.status == "ok"  # never by the trend, but all that waits is 88 s of work
    assert lag_finding(80_000, 150_000, limits=StreamLimits(keeps_pace_seconds=60)).status == "fail"
    catching_up = look(0, {0: 0}, {0: 1_000_000}), look(100, {0: 500_000}, {0: 1_000_000})
    found = judge_lag(catching_up[1], trends(*catching_up), LIMITS)
    assert (found.status, found.value) == (
        "ok",
        "500,000 events behind (by partition: {0: 500000}), caught up in 100 s.",
    )


def test_one_stuck_partition_is_seen_beside_quick_ones():
    before = look(0, {0: 0, 1: 7}, {0: 1000, 1: 27})
    now = look(100, {0: 2000, 1: 7}, {0: 2000, 1: 27})
    finding = judge_lag(now, trends(before, now), LIMITS)
    assert (finding.status, "{1: 20}" in finding.value) == ("warn", True)


@pytest.mark.parametrize(
    ("created", "pushed", "lag", "status", "value"),
    [
        (None, None, 0, "ok", "Nothing has landed yet."),
        (9_990, 9_991, 0, "ok", "The newest landed event is 9 s old and took 1.0 s from producer to table."),
        (9_000, 9_001, 0, "ok", "999 s old"),  # quiet, but nothing waits
        (9_000, 9_600, 5, "warn", "400 s old and took 600.0 s"),
        (5_000, 5_002, 5, "fail", "4,998 s old"),
        (5_000, None, 5, "fail", "The newest landed event is 5,000 s old."),
        (None, 9_999, 5, "ok", "The newest landed event is 1 s old."),
        (10_030, 10_031, 0, "ok", "0 s old and took 1.0 s"),  # another clock
    ],
)
def test_landing(created, pushed, lag, status, value):
    finding = judge_landing(created, pushed, lag, 10_000, LIMITS)
    assert finding.status == status
    assert value in finding.value
    assert bool(finding.advice) == (status != "ok")


def test_a_long_silence_asks_after_the_producers():
    finding = judge_landing(0, 1, 0, 100_000, LIMITS)
    assert (finding.status, "whether the producers run" in finding.advice) == ("warn", True)


def test_dead_letters_are_judged_by_what_came_since_the_last_look():
    offsets = {0: (0, 10), 1: (5, 20)}
    first = judge_dead_letters(offsets, None, LIMITS)
    assert (first.status, first.value, first.measured) == ("warn", "25 dead letters, 25 of them new.", 25)
    assert first.details == {"ends": {0: 10, 1: 20}}
    same = judge_dead_letters(offsets, {0: 10, 1: 20}, LIMITS)
    assert (same.status, same.value, same.advice) == ("ok", "25 dead letters, 0 of them new.", "")
    more = judge_dead_letters({0: (0, 12), 1: (21, 24), 2: (0, 1)}, {0: 10, 1: 20}, LIMITS)
    assert (more.status, more.measured) == ("warn", 2 + 3 + 1)
    assert "sales connector dlq show" in more.advice
    assert judge_dead_letters({0: (0, 1010)}, {0: 10}, LIMITS).status == "fail"
    assert judge_dead_letters({0: (0, 3)}, {0: 10}, LIMITS).status == "ok"  # the topic was made anew
    assert judge_dead_letters({0: (0, 0)}, None, LIMITS).status == "ok"


def test_topics():
    both = {"sales_events": 6, "sales_events_dlq": 1}
    assert judge_topics(both, 6).status == "ok"
    other = judge_topics(both, 4)
    assert (other.status, other.value, other.measured) == ("warn", "sales_events has 6 partitions.", 6)
    assert "SALES_KAFKA_TOPIC_PARTITIONS" in other.advice
    none = judge_topics({"something": 1}, 4)
    assert (none.status, none.value) == ("fail", "There is no topic sales_events, sales_events_dlq.")
    assert judge_topics({"sales_events": 4}, 4).value == "There is no topic sales_events_dlq."


def test_drift_is_when_many_events_have_other_fields():
    events = [dict(event) for event in sale_events(1, 20) if isinstance(event, dict)]
    assert judge_schema(events, LIMITS).value == "0 of the newest 20 events have other fields than sale.v1."
    assert judge_schema([], LIMITS).status == "ok"
    one = [events[0] | {"channel": "app"}, *events[1:]]
    assert (judge_schema(one, LIMITS).status, judge_schema(one, LIMITS).measured) == ("ok", 0.05)
    some = [event | {"channel": "app"} for event in events[:4]] + events[4:]
    found = judge_schema(some, LIMITS)
    assert (found.status, "(unknown: ['channel'], missing: none)" in found.value) == ("warn", True)
    without = [{k: v for k, v in event.items() if k != "country"} for event in events]
    found = judge_schema(without, LIMITS)
    assert (found.status, found.measured) == ("fail", 1)
    assert "missing: ['country']" in found.value
    assert "add a version of the schema" in found.advice
    assert judge_schema([[1, None], "text"], LIMITS).status == "fail"


def finding(check: str, status: str) -> Finding:
    return Finding(check, status, f"{check} is {status}.", "t", "" if status == "ok" else f"Mend {check}.")


def news(before: dict[str, str], **now: str) -> tuple[list[str], list[str]]:
    found = news_since(before, [finding(check, status) for check, status in now.items()])
    return [f.check for f in found.worse], found.recovered


def test_the_same_is_told_once_and_recovery_once():
    assert news({}, a="fail", b="ok") == (["a"], [])
    assert news({"a": "fail", "b": "ok"}, a="fail", b="ok") == ([], [])
    assert news({"a": "fail"}, a="fail", b="warn") == (["b"], [])
    assert news({"a": "warn"}, a="fail") == (["a"], [])
    assert news({"a": "fail", "b": "fail"}, a="fail", b="ok") == ([], [])
    assert news({"a": "fail", "b": "ok"}, a="ok", b="ok") == ([], ["a"])
    assert news({"a": "fail"}, a="warn") == ([], ["a"])
    assert news({"a": "ok"}, a="ok") == ([], [])
    assert news({"a": "warn"}, a="ok") == ([], [])
    assert news({"a": "fail"}, a="ok", b="warn") == (["b"], ["a"])


def test_the_message_says_the_worst_first_and_what_to_do():
    found = [finding("a", "ok"), finding("b", "warn"), finding("c", "fail")]
    assert overall(found) == "fail"
    assert overall([]) == "ok"
    assert message(found) == "❌ c: c is fail. Mend c.\n⚠️ b: b is warn. Mend b."
    assert message(found[:1]) == ""


def test_a_finding_is_json_whatever_it_measured():
    endless = Finding("lag", "fail", "v", "t", "a", math.inf, {"x": {0: 1}})
    assert json.loads(json.dumps(endless.as_data(), allow_nan=False))["measured"] is None
    assert Finding("lag", "ok", "v", "t", measured=2).as_data()["measured"] == 2
