"""Every event lands exactly once and in order, whatever happens to the sink, the broker and the warehouse.

The sink's process is killed at seeded points again and again while events flow: after a random while, or in
the middle of a transaction, before or after the warehouse has done what it was asked. Between the kills the
broker stops answering, and the warehouse answers 500, hangs up, loses answers and stops answering.
"""

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from blocks import names
from blocks.errors import SalesError
from blocks.kafka import KafkaCluster
from tasks.kafka import topic_offsets
from tasks.stream_audit import account, dead_letters, origin
from tests.contract.faulty_proxy import INTERNAL_ERROR, Answer, FaultyProxy, Forward, forwarded
from tests.contract.stream_pipe import Position, StreamPipe

KILLS = 50
OUTAGES = {"kafka": 4, "snowflake": 4}
EVENTS_PER_SECOND, KEYS, BROKEN = 250, 40, 0.01
PATIENCE = 6  # and so an answer is waited for 2 s
FAULT_EVERY = 30  # statements
FAULTS = ("500", "500 after", "no answer")
# In the middle of a transaction the sink is killed this often at each statement, before and after it is done.
TRAPS = {
    "begin": 2,
    "insert into SALES_DW.RAW.SALES_RAW": 2,
    "insert into SALES_DW._STREAMING": 2,
    "commit": 4,
}
Trap = tuple[str, str]


@dataclass
class Sent:
    """What the broker has acknowledged: position to event, or to None for one that is no JSON."""

    at: dict[Position, dict[str, Any] | None] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def where(self, broken: bool) -> set[Position]:
        return {position for position, event in self.at.items() if (event is None) == broken}


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    with FaultyProxy().serving() as proxy:
        yield proxy


@pytest.fixture
def pipe(start_service, serve_warehouse, tmp_path, proxy) -> StreamPipe:
    return StreamPipe(start_service, serve_warehouse, tmp_path, patience=PATIENCE, way_to=proxy.before)


@contextmanager
def events_flowing(cluster: KafkaCluster, seed: int) -> Iterator[Sent]:
    """Send numbered events of many keys at a steady rate, some of them no JSON; all are delivered at the end."""
    sent, stop = Sent(), threading.Event()

    def note(event: dict[str, Any] | None) -> Callable[..., None]:
        def delivered(error: Any, message: Message) -> None:
            if error:
                sent.errors.append(error.str())
            else:
                sent.at[message.partition(), message.offset()] = event

        return delivered

    def send() -> None:
        rng, numbers, began = random.Random(seed), Counter(), time.monotonic()
        config = {"enable.idempotence": True, "linger.ms": 5, "delivery.timeout.ms": 120_000}
        producer = Producer(cluster.client_config() | config)
        while not stop.is_set():
            key = f"order-{rng.randrange(KEYS)}"
            event = {"event_id": f"{seed}-{numbers.total()}", "order_id": key, "number": numbers[key]}
            numbers[key] += 1
            broken = rng.random() < BROKEN
            text = json.dumps(event)
            producer.produce(
                names.TOPIC,
                text[:-1] if broken else text,
                key=key,
                on_delivery=note(None if broken else event),
            )
            producer.poll(max(0.0, began + numbers.total() / EVENTS_PER_SECOND - time.monotonic()))
        assert producer.flush(60) == 0

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join(90)


class Chaos:
    """What goes wrong between sink and warehouse, and when the sink is killed; all of it drawn from a seed."""

    def __init__(self, pipe: StreamPipe, proxy: FaultyProxy, seed: int) -> None:
        self.pipe, self.proxy, self.rng = pipe, proxy, random.Random(seed)
        self.late = random.Random(seed + 1)  # for the proxy's threads
        self.counts: Counter[str] = Counter()
        traps = [(sql, when) for sql, times in TRAPS.items() for when in ("before", "after") * times]
        self.plan: list[Trap | None] = [*traps, *[None] * (KILLS - len(traps))]
        self.rng.shuffle(self.plan)
        self._trap: Trap | None = None
        self._killed = threading.Event()
        self._hanging: list[threading.Thread] = []

    def meddle(self, sql: str, forward: Forward) -> Answer | None:
        """Break a statement now and then; kill the sink at the statement for which the trap is set."""
        if (trap := self._trap) and sql.startswith(trap[0]):
            self._trap = None
            return self._spring(trap, forward)
        self.counts["statements"] += 1
        turn, due = divmod(self.counts["statements"], FAULT_EVERY)
        if due:
            return forward()
        fault = FAULTS[turn % len(FAULTS)]
        self.counts[fault] += 1
        if fault != "500":
            forward()
        return None if fault == "no answer" else INTERNAL_ERROR

    def _spring(self, trap: Trap, forward: Forward) -> None:
        statement, when = trap
        victim = self.pipe.worker.process
        if when == "after":
            forward()
        victim.kill()
        victim.wait(10)
        self.counts[f"killed {when} {statement.split()[0]}"] += 1
        self._killed.set()
        if when == "before":
            # The request was on its way: it arrives once its sender is dead and another sink has opened.
            time.sleep(self.late.uniform(0, 2.5))
            forward()

    def kill(self, trap: Trap | None) -> None:
        """Kill the sink while it works, in the trap or after a while, and start it again."""
        self.pipe.wait_until_it_runs()
        if trap:
            self._killed.clear()
            self._trap = trap
            self._killed.wait(4)
            self._trap = None
        else:
            time.sleep(self.rng.uniform(0, 0.4))
        self.pipe.worker.kill()
        self.pipe.worker.start()
        self.counts["kills"] += 1

    def stop_answering(self, server: str) -> None:
        """Let a server hang for a while: connections stay open, nothing is answered."""
        broker, answering = self.pipe.kafka.process, self.proxy.answering

        def hang(seconds: float) -> None:
            broker.send_signal(signal.SIGSTOP) if server == "kafka" else answering.clear()
            time.sleep(seconds)
            broker.send_signal(signal.SIGCONT) if server == "kafka" else answering.set()

        self.counts[f"{server} hung"] += 1
        self._hanging.append(threading.Thread(target=hang, args=(self.rng.uniform(0.5, 3),)))
        self._hanging[-1].start()

    def end(self) -> None:
        """Break nothing any more."""
        self.proxy.meddle = forwarded
        for thread in self._hanging:
            thread.join()


@pytest.mark.parametrize("seed", [20_240_517])
def test_fifty_kills_and_every_other_fault_lose_nothing_and_repeat_nothing(pipe, proxy, seed):
    chaos = Chaos(pipe, proxy, seed)
    outages = [server for server, count in OUTAGES.items() for _ in range(count)]
    hangs = dict(zip(chaos.rng.sample(range(KILLS), len(outages)), outages, strict=True))
    with events_flowing(pipe.cluster, seed) as sent:
        proxy.meddle = chaos.meddle
        for number, trap in enumerate(chaos.plan):
            if number in hangs:
                chaos.stop_answering(hangs[number])
            chaos.kill(trap)
        chaos.end()
    try:
        pipe.drain()
        require_exactly_once(pipe, sent)
    except (AssertionError, SalesError) as error:
        raise AssertionError(f"seed {seed}, {dict(chaos.counts)}: {error}") from error
    assert chaos.counts["kills"] == KILLS
    assert all(chaos.counts[fault] for fault in (*FAULTS, "killed before commit", "killed after commit"))
    print(f"seed {seed}: {len(sent.at)} events, {dict(chaos.counts)}")


def require_exactly_once(pipe: StreamPipe, sent: Sent) -> None:
    """Hold what landed, and the dead letters, against what was sent."""
    ends = {partition: end for partition, (_, end) in topic_offsets(pipe.cluster, names.TOPIC).items()}
    assert sent.errors == []
    assert set(sent.at) == {(partition, offset) for partition, end in ends.items() for offset in range(end)}
    landed = pipe.landed()
    times = Counter(position for position, _, _ in landed)
    assert {position: count for position, count in times.items() if count > 1} == {}
    assert sent.where(broken=False) - set(times) == set()
    assert {position: event for position, _, event in landed} == {
        position: event for position, event in sent.at.items() if event
    }
    assert len({event["event_id"] for _, _, event in landed}) == len(landed)
    require_order(landed)
    # Dead letters are at least once, as Kafka Connect's are: none is lost, a kill may repeat some.
    letters = [origin(letter) for letter in dead_letters(pipe.cluster, {})]
    assert set(letters) == sent.where(broken=True)
    assert len(set(letters)) > 0
    stretches = account(pipe.warehouse, pipe.cluster, "after all faults")
    assert {s.partition: s.missing for s in stretches} == dict.fromkeys(ends, 0)
    assert sum(s.landed for s in stretches) == len(landed)


def require_order(landed: list[tuple[Position, int, dict[str, Any]]]) -> None:
    """Hold that each partition was written in the order of its offsets, and so each key in that of its events."""
    offsets: dict[int, list[int]] = {}
    pushed: dict[int, list[int]] = {}
    numbers: dict[str, list[int]] = {}
    for (partition, offset), push_time, event in landed:
        offsets.setdefault(partition, []).append(offset)
        pushed.setdefault(partition, []).append(push_time)
        numbers.setdefault(event["order_id"], []).append(event["number"])
    for sequence in (*offsets.values(), *pushed.values(), *numbers.values()):
        assert sequence == sorted(sequence)


def test_a_commit_that_arrives_after_its_sender_was_replaced_is_refused(pipe, proxy):
    held, release, outcome = threading.Event(), threading.Event(), []

    def hold_the_first_commit(sql: str, forward: Forward) -> Answer | None:
        if sql == "commit" and not held.is_set():
            held.set()
            release.wait(60)
            outcome.append(json.loads(forward()[2]))
            return None
        return forward()

    proxy.meddle = hold_the_first_commit
    with events_flowing(pipe.cluster, 1) as sent:
        assert held.wait(20)
        pipe.worker.kill()
        pipe.worker.start()
        pipe.wait_until_it_runs()
        while not pipe.landed():
            time.sleep(0.1)
        release.set()
    pipe.drain()
    require_exactly_once(pipe, sent)
    assert not outcome[0]["success"]
    assert "duplicate key" in outcome[0]["message"]
