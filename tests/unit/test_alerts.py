"""What is told of runs, composed without a server."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import task
from prefect.client.schemas import FlowRun
from prefect.client.schemas.objects import StateType
from prefect.flows import load_flow_from_entrypoint

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT, EmbeddedSettings
from tasks.alerts import failing_task, failure, reason, recovered_from, tell_of_failure, tell_of_recovery
from tasks.automations import late_after, read_automations, runbook_url
from tasks.deadline import is_overdue

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FLOWS = sorted(PROJECT.glob("flows/[a-z]*.py"))


@task(name="the inner one")
def inner() -> None:
    raise WillNotHeal("The door is shut.", "Open it.")


@task(name="the outer one")
def outer() -> None:
    inner.fn()


def raised(action) -> Exception:
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def behind() -> None:
    try:
        outer.fn()
    except WillNotHeal as error:
        raise RuntimeError("Something else") from error


def test_the_innermost_task_of_a_traceback_is_named():
    assert failing_task(raised(outer.fn)) == "the inner one"
    assert failing_task(raised(behind)) == "the inner one"
    assert failing_task(raised(lambda: 1 / 0)) is None
    assert failing_task(None) is None


def test_a_failure_is_told_with_task_and_first_line():
    told = failure("a-flow", "a run", raised(inner.fn), "Flow run encountered an exception")
    assert told == {
        "flow": "a-flow",
        "run": "a run",
        "failing_task": "the inner one",
        "error": "The door is shut. Open it.",
        "subject": "a-flow Failed: a run",
        "message": "Failing task: the inner one\nError: The door is shut. Open it.",
    }
    assert "Failing task: none, it is the flow itself" in failure("f", "r", None, "no")["message"]


def test_a_reason_is_short_and_names_the_class_of_what_was_not_written_for_people():
    assert reason(KeyError("feed"), None) == ["KeyError: 'feed'"]
    assert reason(None, "Returned Failed") == ["Returned Failed"]
    assert reason(None, None) == ["no message"]
    assert reason(WillNotHeal("\n".join("abcdefghijklm")), None) == list("abcdefghij")


def run(state, hours_ago=1.0, name="a run", **parameters) -> FlowRun:
    end = NOON - timedelta(hours=hours_ago)
    return FlowRun(
        flow_id=uuid4(), name=name, parameters=parameters, state_type=StateType(state), end_time=end
    )


def now(is_scheduled=False, **parameters) -> FlowRun:
    start = {"start_time": NOON, "auto_scheduled": is_scheduled}
    return FlowRun(flow_id=uuid4(), name="now", parameters=parameters, **start)


@pytest.mark.parametrize(
    ("this", "tries", "before", "since"),
    [
        (now(), [], [], None),
        (now(), [], [run("COMPLETED"), run("FAILED", 2)], None),
        (now(), [], [run("FAILED")], "run a run had failed at 2026-03-02 11:00 UTC"),
        (now(), [], [run("CRASHED", name="x")], "run x had crashed at 2026-03-02 11:00 UTC"),
        (
            now(feed="a"),
            [],
            [run("COMPLETED", feed="b"), run("FAILED", 2, feed="a")],
            "run a run had failed at",
        ),
        (now(feed="a"), [], [run("FAILED", feed="b")], None),
        (now(), ["PENDING", "FAILED", "RUNNING"], [run("COMPLETED")], "the same run had failed"),
        (now(True), [], [run("COMPLETED", 30)], "30.0 hours without a success"),
        (now(True), [], [run("COMPLETED", 25)], None),
        (now(False), [], [run("COMPLETED", 30)], None),
    ],
)
def test_a_recovery_is_the_first_good_run_after_a_bad_or_a_late_time(this, tries, before, since):
    found = recovered_from(this, tries, before, timedelta(hours=26))
    assert found == since if since is None else found.startswith(since)


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: p.stem)
def test_every_flow_tells_how_it_ended(path):
    flow = load_flow_from_entrypoint(f"{path}:{path.stem}", use_placeholder_flow=False)
    assert [hook.__name__ for hook in flow.on_failure_hooks] == [tell_of_failure.__name__]
    assert [hook.__name__ for hook in flow.on_completion_hooks] == [tell_of_recovery.__name__]
    assert flow.on_crashed_hooks == []  # the server tells of crashes; both would tell twice


def test_what_may_be_late_is_declared_with_how_late():
    assert late_after("run-sales-pipeline") == timedelta(hours=26)
    assert late_after("watch-streaming") == timedelta(hours=1)
    assert late_after("backfill-sales") is None


def test_whatever_has_a_schedule_is_watched_for_being_late():
    """A new one belongs in one of the automations with `needs_schedules`."""
    scheduled = [each for each in read_declared("prefect.yaml")["deployments"] if "schedules" in each]
    flows = [each["entrypoint"].rpartition(":")[2].replace("_", "-") for each in scheduled]
    assert [name for name in flows if late_after(name) is None] == []


def read_declared(name):
    return yaml.safe_load((PROJECT / name).read_text())


def test_a_link_needs_the_address_of_the_runbooks():
    assert runbook_url(EmbeddedSettings(), "run-failed") == "docs/runbooks/run-failed.md"
    settings = EmbeddedSettings(runbooks_url="https://example.com/books/")
    assert runbook_url(settings, "run-failed") == "https://example.com/books/run-failed.md"


def test_an_automation_without_a_runbook_is_refused(tmp_path):
    file = tmp_path / "automations.yml"
    file.write_text("automations: [{name: bare}]")
    with pytest.raises(WillNotHeal, match=r"give bare a runbook"):
        read_automations(file)


@pytest.mark.parametrize(
    ("last", "overdue"),
    [
        (None, True),
        (datetime(2026, 6, 30, 22, 59), True),  # 23:59 in London, in summer
        (datetime(2026, 6, 30, 23, 1), False),
    ],
)
def test_the_day_of_the_deadline_is_that_of_its_zone(last, overdue):
    seven = datetime(2026, 7, 1, 6, tzinfo=UTC)
    assert is_overdue(last, seven, ZoneInfo("Europe/London")) is overdue
