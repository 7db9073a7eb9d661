"""Two runs started together do not interleave, and what one did while the other was down makes old answers stale."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.runtime import flow_run

from blocks.errors import WillNotHeal
from tasks.retries import turns_of_others
from tasks.turns import turn, wait_for_turn

SECONDS = 1
STORY: list[str] = []


@flow(name="have-a-turn")
def have_a_turn(name: str, seconds: float = 0) -> str:
    """Say when its turn begins and ends."""
    with turn():
        STORY.append(f"{name} begins")
        time.sleep(seconds)
        STORY.append(f"{name} ends")
    return str(flow_run.id)


@flow(name="be-impatient")
def be_impatient() -> None:
    """Want a turn now or never."""
    wait_for_turn(patience_seconds=0)


def test_the_second_waits_for_the_first(pipeline):
    with ThreadPoolExecutor(2) as threads:
        # Each with a context of its own, by which Prefect knows the server.
        runs = [threads.submit(copy_context().run, have_a_turn, name, SECONDS) for name in "ab"]
        assert len({run.result() for run in runs}) == 2
    first, second = STORY[0][0], STORY[2][0]
    assert {first, second} == {"a", "b"}
    assert [f"{first} begins", f"{first} ends", f"{second} begins", f"{second} ends"] == STORY


def test_who_does_not_want_to_wait_is_told_what_to_do(pipeline):
    @flow(name="hold-a-turn")
    def hold() -> None:
        with turn():
            be_impatient()

    with pytest.raises(WillNotHeal, match=r"Another run was at work for 0 s. .* retry this run"):
        hold()


def test_a_turn_of_another_run_makes_answers_stale(pipeline):
    mine = UUID(have_a_turn("mine"))
    with get_client(sync_client=True) as client:
        assert turns_of_others(client, mine) == []
        have_a_turn("another")
        deadline = time.monotonic() + 20  # Prefect writes task runs down a moment later
        while not (others := turns_of_others(client, mine)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert len(others) == 1
