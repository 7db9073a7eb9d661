"""Watching the deadline: at the hour by which readers are promised the day's marts, they are there or it is told."""

from prefect import flow

from tasks.alerts import HOOKS
from tasks.deadline import look_at_deadline


@flow(name="watch-deadline", persist_result=True, **HOOKS)
def watch_deadline(time_zone: str = "Europe/London") -> bool:
    """Look once, at the promised hour: the deployment's schedule is the promise. Say whether it was kept.

    time_zone: whose day it is, by its IANA name.

    A missed deadline does not fail the run; it is told by the event `sales.marts.overdue`, once a day at most.
    """
    return look_at_deadline(time_zone)
