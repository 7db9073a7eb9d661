"""Objectives on numbers: when a threshold is crossed, how fast a budget burns, what is news, what a metric is."""

import pytest

from blocks import names
from blocks.feeds import feed_names
from blocks.settings import PROJECT
from tasks.capacity import NEVER, days_left, judge_backlog, judge_queries, judge_storage
from tasks.error_rates import judge_counts, judge_share
from tasks.findings import Finding
from tasks.freshness import ages, judge_age
from tasks.metrics import as_gauges, data_points
from tasks.pipeline_news import changes_since, with_trend
from tasks.slos import burn_rate, judge, judge_burn, read_slos

SLOS = read_slos()
DAY = 86_400


@pytest.mark.parametrize(("seconds", "status"), [(0.1, "ok"), (5, "warn"), (14.9, "warn"), (15, "fail")])
def test_a_number_is_held_against_both_thresholds(seconds, status):
    slo = SLOS.of("available")
    found = judge("available x", seconds, "v", slo, " s", "Slow.")
    assert (found.status, found.measured) == (status, seconds)
    assert found.threshold == "under 5 s, failing from 15 s"
    assert found.advice == ("" if status == "ok" else f"Slow. See {slo.runbook}.")


@pytest.mark.parametrize(("days", "status"), [(61, "ok"), (60, "warn"), (14, "fail"), (0, "fail")])
def test_of_days_left_fewer_are_worse(days, status):
    assert judge("capacity storage", days, "v", SLOS.of("capacity storage"), "", "").status == status


def test_a_budget_burns_as_many_times_faster_as_goes_wrong_more_than_allowed():
    assert burn_rate(1, 100, 0.99) == pytest.approx(1)
    assert burn_rate(144, 1000, 0.99) == pytest.approx(14.4)
    assert burn_rate(0, 0, 0.99) == 0


@pytest.mark.parametrize(
    ("fast", "slow", "status", "worst"),
    [((0, 100), (0, 600), "ok", 0), ((15, 100), (15, 600), "fail", 15), ((5, 100), (60, 600), "warn", 10),
     ((4, 4), (4, 4), "ok", 0)],
)  # fmt: skip
def test_the_fast_window_fails_and_the_slow_one_warns(fast, slow, status, worst):
    found = judge_burn(SLOS.of("errors flow_runs"), fast, slow, SLOS.burn)
    assert (found.check, found.status, found.measured) == (
        "burn errors_flow_runs",
        status,
        pytest.approx(worst),
    )


def test_of_few_a_share_says_nothing():
    slo = SLOS.of("errors quarantine")
    assert judge_share(slo, 99, 99, 3600).status == "ok"
    assert (judge_share(slo, 20, 100, 3600).status, judge_share(slo, 20, 100, 3600).measured) == ("fail", 0.2)
    assert judge_share(slo, 5, 100, 3600).status == "warn"


def test_every_share_and_every_objective_is_judged():
    counts = {("errors validations", DAY): (3.0, 10.0), ("errors dead_letters", 3600): (50.0, 100.0)}
    found = {f.check: f.status for f in judge_counts(counts, SLOS)}
    assert found["errors validations"] == "fail"
    assert found["burn errors_dead_letters"] == "fail"
    assert {check for check, status in found.items() if status == "ok"} == {
        *(f"errors {name}" for name in ("flow_runs", "task_runs", "quarantine", "dead_letters")),
        *(f"burn errors_{name}" for name in ("flow_runs", "task_runs", "quarantine", "validations")),
        "burn fresh_sales_events",
        "burn fresh_marts",
    }


def test_every_feed_the_topic_and_the_marts_have_an_age():
    rows = [
        {"component": names.TOPIC, "age": 900}, {"component": "landing", "age": 30},
        {"component": "store_sales", "age": 200_000}, {"component": "marts", "age": None},
    ]  # fmt: skip
    found = ages(rows)
    assert set(found) == {*feed_names(), names.TOPIC, "marts"}
    assert (found[names.TOPIC], found["store_sales"], found["marts"]) == (30, 200_000, None)
    assert judge_age("store_sales", 200_000, SLOS).status == "fail"
    assert judge_age("marts", 100_000, SLOS).status == "warn"
    assert judge_age("marts", None, SLOS).value == "Nothing has come yet."


def test_days_left_follow_the_pace():
    assert days_left(100, 200, DAY, 1000) == pytest.approx(8)
    assert days_left(200, 200, DAY, 1000) == NEVER
    assert days_left(0, 1000, DAY, 1000) == 0


def test_storage_is_judged_by_what_is_full_first():
    tables = [{"name": "RAW.T", "table_rows": 10**9, "table_bytes": 10**9}]
    before = {"total_rows": 9 * 10**8, "total_bytes": 10**9, "age": DAY}
    found = judge_storage(tables, before, SLOS)
    assert (found.status, found.measured, found.details) == ("fail", 10.0, {"rows": 1e9, "bytes": 1e9})
    assert judge_storage(tables, before | {"age": 60}, SLOS).status == "ok"
    assert judge_storage(tables, None, SLOS).measured == NEVER


def test_queries_are_judged_and_added_up_by_tag():
    queries = [
        {"query_tag": tag, "query_id": str(n), "elapsed": elapsed, "queued": queued, "blocked": 0}
        for n, (tag, elapsed, queued) in enumerate(
            [("sales_dbt:a", 700, 20), ("sales_dbt:b", 1, 15), ("", 2, 0)]
        )
    ]
    found = {f.check: f for f in judge_queries(queries, SLOS)}
    assert (found["queue warehouse"].status, found["queue warehouse"].measured) == ("warn", 35)
    assert (found["slow warehouse"].status, found["slow warehouse"].value) == (
        "warn",
        "The slowest took 700.0 s (sales_dbt:a, 0).",
    )
    assert (found["time sales_dbt"].measured, found["time untagged"].measured) == (701, 2)
    assert [f.measured for f in judge_queries([], SLOS)[:2]] == [0, 0]


def test_a_backlog_is_judged():
    assert [judge_backlog({0: n}, SLOS)[0].status for n in (9, 10_000, 100_000)] == ["ok", "warn", "fail"]


def finding(check="fresh a", status="ok", measured=1.0):
    return Finding(check, status, "v", "t", "a", measured)


def test_each_check_is_told_when_it_gets_worse_and_when_it_is_well_again():
    before = {"fresh a": "warn", "fresh b": "fail", "fresh c": "fail", "fresh d": "ok"}
    now = [
        finding("fresh a", "fail"), finding("fresh b"), finding("fresh c", "warn"), finding("fresh d"),
        finding("fresh e", "warn"),
    ]  # fmt: skip
    changes = changes_since(before, now)
    assert [f.check for f in changes.worse] == ["fresh a", "fresh e"]
    assert [f.check for f in changes.recovered] == ["fresh b"]


def test_a_trend_is_against_the_median():
    assert with_trend(finding(measured=15), [10, 10, 100]).trend == "up 50% (median of 3: 10)"
    assert with_trend(finding(measured=10.5), [10]).trend == "steady (median of 1: 10)"
    assert with_trend(finding(measured=3), [0, 0]).trend == "up from 0 (median of 2: 0)"
    assert with_trend(finding(measured=None), [1]).trend == ""


def test_a_metric_carries_environment_and_component():
    points = data_points([finding("fresh marts", "warn", 7.5), finding("disk kafka", "ok", None)], "prod")
    assert [(p["MetricName"], p["Value"]) for p in points] == [
        ("FreshStatus", 1),
        ("Fresh", 7.5),
        ("DiskStatus", 0),
    ]
    assert points[0]["Dimensions"] == [
        {"Name": "Environment", "Value": "prod"},
        {"Name": "Component", "Value": "marts"},
    ]
    status, value, _looked = as_gauges([finding("fresh marts", "warn", 7.5)], "prod")
    labels = {"environment": "prod", "kind": "fresh", "component": "marts"}
    assert (status.samples[0].labels, status.samples[0].value) == (labels, 1)
    assert (value.samples[0].labels, value.samples[0].value) == (labels, 7.5)


def test_every_runbook_is_there():
    assert all((PROJECT / slo.runbook).is_file() for slo in SLOS.slos)
