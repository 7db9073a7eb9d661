"""Turns: one run at a time takes data from the drop to the marts, whoever started it; the others wait.

A turn is the one slot of Prefect's concurrency limit `sales-pipeline`, held by a lease that is renewed. A killed
run's lease ends by itself after `LEASE_SECONDS`; the same run, run again, takes over at once what it held. A
deployment's own limit would not see runs that somebody starts by hand. Losing a lease ends no run: loads, builds
and publications stay right without turns, only slower and harder to read.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from uuid import UUID

import httpx
from prefect import get_client, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from blocks.errors import WillNotHeal, may_heal
from tasks.retries import TURN

LIMIT = "sales-pipeline"
LABEL = "sales.lease"
# The least that Prefect grants.
LEASE_SECONDS = 60
RENEW_SECONDS = 15
POLL_SECONDS = 2
PATIENCE_SECONDS = 4 * 3600


@contextmanager
def turn() -> Iterator[None]:
    """Wait until no other run is at work, and keep the others waiting for the time of the `with`.

    Raises WillNotHeal if others are at work for `PATIENCE_SECONDS`.
    """
    lease, done = UUID(wait_for_turn()), threading.Event()
    # With the context, by which the thread knows which server.
    keeper = threading.Thread(target=copy_context().run, args=(_keep, lease, done), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        with suppress(httpx.HTTPError, PrefectException), get_client(sync_client=True) as client:
            client.release_concurrency_slots_with_lease(lease)


# Not retried: its patience is in itself.
@task(name="wait for its turn", tags=[TURN], cache_policy=NO_CACHE)
def wait_for_turn(patience_seconds: float = PATIENCE_SECONDS) -> str:
    """Take the turn once no other run has it; give the id of its lease."""
    run_id, logger, deadline = UUID(str(flow_run.id)), get_run_logger(), time.monotonic() + patience_seconds
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(LIMIT, 1)
        _give_back(client, run_id)
        is_told = False
        while (lease := _take(client, run_id)) is None:
            if not is_told:
                logger.warning("Another run is at work; this one goes on when that has ended.")
                is_told = True
            if time.monotonic() > deadline:
                raise WillNotHeal(
                    f"Another run was at work for {patience_seconds:.0f} s. See in Prefect which runs are running, end "
                    "the one that hangs, then retry this run."
                )
            time.sleep(POLL_SECONDS)
        # Written down, so that this run can take over from itself after a kill.
        client.update_flow_run_labels(run_id, {LABEL: lease})
    return lease


def _take(client: SyncPrefectClient, run_id: UUID) -> str | None:
    try:
        answer = client.increment_concurrency_slots_with_lease(
            [LIMIT], 1, "concurrency", LEASE_SECONDS, ConcurrencyLeaseHolder(type="flow_run", id=run_id)
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.LOCKED or may_heal(error):
            return None
        raise
    return str(answer.json()["lease_id"])


def _give_back(client: SyncPrefectClient, run_id: UUID) -> None:
    """Release the lease that this run's killed attempt held."""
    if held := (client.read_flow_run(run_id).labels or {}).get(LABEL):
        with suppress(httpx.HTTPStatusError):  # it has ended by itself
            client.release_concurrency_slots_with_lease(UUID(str(held)))


def _keep(lease: UUID, done: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not done.wait(RENEW_SECONDS):
            with suppress(httpx.HTTPError, PrefectException):
                client.renew_concurrency_lease(lease, LEASE_SECONDS)
