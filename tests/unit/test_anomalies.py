"""What is unusual is decided by plain functions: a declared check, one value, the values before it."""

import math
from datetime import date, timedelta

import pytest

from tasks.anomalies import KEPT_VALUES, bounds, judge, judge_all
from tasks.suites import read_anomalies

DAYS = [(date(2025, 3, 3) + timedelta(n)).isoformat() for n in range(28)]  # a Monday, and four weeks
STEADY = {day: 100.0 + n % 3 for n, day in enumerate(DAYS)}
DAILY = {"table": "T", "weekdays": True}
DECLARED = {
    check["id"]: (anomaly, check)
    for layer in ("raw", "marts_candidate")
    for anomaly in read_anomalies(layer)
    for check in anomaly["checks"]
}


def judged(check_id, value, history, subject="2025-03-31", accepted=None):
    declared, check = DECLARED[check_id]
    row = {"series": "shop", "subject": subject, "rows_judged": 7, check["measure"]: value}
    return judge(declared, check, row, history, accepted)


@pytest.mark.parametrize(
    ("check", "history", "low", "high"),
    [
        ({"above_times": 5}, [10, 10, 10, 10, 10], -math.inf, 50),
        ({"above_times": 5, "least": 200}, [10, 10, 10, 10, 10], -math.inf, 200),
        ({"above_times": 2}, [10, 20, 30, 40, 50], -math.inf, 30 + 8 * 1.4826 * 10),
        ({"below_times": 0.1}, [10, 20, 30, 40, 50], 3, math.inf),
        ({"apart": 0.25}, [0.5, 0.5, 0.5, 0.5, 0.5], 0.25, 0.75),
        ({"apart_times": 0.5}, [10, 10, 10, 10, 10], 5, 15),
        ({"apart": 1}, [10, 20, 30, 40, 50], 30 - 8 * 1.4826 * 10, 30 + 8 * 1.4826 * 10),
    ],
)
def test_bounds_lie_around_the_median(check, history, low, high):
    found = bounds(check, {str(n): float(value) for n, value in enumerate(history)}, {})
    assert (found.low, found.high) == pytest.approx((low, high))


def test_one_outlier_in_the_history_moves_the_bounds_little():
    history = {str(n): 10.0 for n in range(10)}
    assert bounds({"above_times": 5}, history | {"bad": 10_000.0}, {}).high == 50


@pytest.mark.parametrize(
    ("check_id", "value", "passes"),
    [
        ("batch_volume_not_multiplied", 1000, False),
        ("batch_volume_not_multiplied", 400, True),
        ("batch_volume_not_collapsed", 9, False),
        ("batch_volume_not_collapsed", 11, True),
        ("day_not_multiplied", 1000, False),
        ("day_not_multiplied", 450, True),
        ("no_day_missing", 0, False),
        ("no_day_missing", 5, False),
        ("no_day_missing", 60, True),
        ("mean_price_as_usual", 210, False),
        ("mean_price_as_usual", 190, True),
        ("units_per_line_as_usual", 320, False),
    ],
)
def test_what_is_declared_tells_usual_from_unusual(check_id, value, passes):
    result = judged(check_id, value, STEADY)
    assert result.success is passes
    lacking = 101 - value if check_id in {"batch_volume_not_collapsed", "no_day_missing"} else 7
    assert result.unexpected == (0 if passes else lacking)
    assert "median 101 of 28" in result.observed


@pytest.mark.parametrize("check_id", ["unknown_customers_as_usual", "returns_as_usual"])
def test_a_share_may_move_a_little(check_id):
    history = dict.fromkeys(DAYS, 0.04)
    assert [judged(check_id, share, history).success for share in (0.0, 0.15, 0.25)] == [True, True, False]


def test_the_poisons_of_volume_stop_and_a_change_of_mix_warns():
    severities = {check_id: check["severity"] for check_id, (_, check) in DECLARED.items()}
    stopping = {check_id for check_id, severity in severities.items() if severity == "stop"}
    assert stopping == {"batch_volume_not_multiplied", "day_not_multiplied", "no_day_missing"}


@pytest.mark.parametrize("known", [0, 4])
def test_too_little_history_passes_and_says_so(known):
    result = judged("no_day_missing", 0, dict(list(STEADY.items())[:known]))
    assert result.success
    assert f"not enough history: {known} of 5" in result.observed


def test_a_subject_is_not_its_own_history():
    history = dict(list(STEADY.items())[:4]) | {"2025-03-31": 100.0}
    assert "not enough history: 4 of 5" in judged("no_day_missing", 0, history).observed


def test_a_shop_that_is_closed_on_sundays_misses_no_sunday():
    closed = {day: 0.0 if date.fromisoformat(day).weekday() == 6 else n for day, n in STEADY.items()}
    assert judged("no_day_missing", 0, closed, subject="2025-04-06").success
    assert not judged("no_day_missing", 0, closed, subject="2025-04-07").success


def test_what_a_person_accepted_passes_with_the_reason():
    result = judged("day_not_multiplied", 5000, STEADY, accepted="Black Friday")
    assert result.success
    assert result.observed.endswith("accepted: Black Friday")


ROWS = {"table": "T", "checks": [{"id": "c", "measure": "m", "above_times": 5, "severity": "stop"}]}


def observed(*values):
    return [
        {"series": "s", "subject": day, "rows_judged": 1, "m": value}
        for day, value in zip(DAYS, values, strict=False)
    ]


def test_what_passed_with_the_same_value_is_left_alone_and_null_is_not_judged():
    history = {("c", "s"): dict.fromkeys(DAYS[:3], 5.0)}
    results = judge_all(ROWS, observed(5, 5.0000001, 6, None, 7), history, {})
    assert [(r.subject, r.value) for r in results] == [(DAYS[2], 6), (DAYS[4], 7)]


def test_of_a_long_first_load_the_newest_are_kept_and_every_failure():
    many = [(date(2020, 1, 1) + timedelta(n)).isoformat() for n in range(KEPT_VALUES + 40)]
    rows = [{"series": "s", "subject": day, "rows_judged": 1, "m": 1} for day in many]
    assert [r.subject for r in judge_all(ROWS, rows, {}, {})] == many[40:]
    history = {("c", "s"): {str(n): 1.0 for n in range(5)}}
    rows[0]["m"] = 100
    assert [r.subject for r in judge_all(ROWS, rows, history, {})] == [many[0], *many[40:]]
    assert not [r for r in judge_all(ROWS, rows, history, {("c", "s", many[0]): "right"}) if not r.success]
