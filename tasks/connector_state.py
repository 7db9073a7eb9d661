"""A connector whichever Kafka Connect runs it: its state, its judgement, and what can be done with it."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel

from blocks.errors import MayHeal, WillNotHeal

RUNNING, FAILED = "RUNNING", "FAILED"
HALTED = frozenset({"PAUSED", "STOPPED"})
# Kafka Connect's own, and MSK Connect's, which has them for the connector as a whole.
ON_ITS_WAY = frozenset({"UNASSIGNED", "RESTARTING", "CREATING", "UPDATING"})
LONGEST_REASON = 300

Change = Literal["created", "updated", "unchanged"]
Config = dict[str, str]
Offsets = dict[tuple[str, int], int]  # (topic, partition) -> the offset up to which the sink has committed


class WorkerState(BaseModel):
    """State of a connector instance or of one of its tasks, as Connect reports it."""

    state: str
    worker_id: str = ""
    trace: str | None = None

    @property
    def reason(self) -> str:
        """The line of the trace that says most: the last cause, else the first line."""
        lines = (self.trace or "").splitlines() or [""]
        causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
        return (causes or lines)[-1 if causes else 0]


class TaskState(WorkerState):
    """State of one task of a connector."""

    id: int


class ConnectorStatus(BaseModel):
    """Answer of `GET /connectors/{name}/status` (Kafka's ConnectorStateInfo).

    `tasks` is None where the service does not tell them (MSK Connect).
    """

    name: str
    connector: WorkerState
    tasks: list[TaskState] | None
    type: str = "unknown"

    @property
    def parts(self) -> dict[str, WorkerState]:
        """The connector and its tasks, by what people call them."""
        return {"connector": self.connector} | {f"task {task.id}": task for task in self.tasks or []}

    @property
    def states(self) -> set[str]:
        """Every state that the connector or one of its tasks is in."""
        return {part.state for part in self.parts.values()}

    @property
    def healthy(self) -> bool:
        """Whether the connector runs, with at least one task, and all tasks run."""
        return self.states == {RUNNING} and self.tasks != []

    @property
    def halted(self) -> bool:
        """Whether somebody has paused or stopped it, which is theirs to undo."""
        return self.connector.state in HALTED

    @property
    def settled(self) -> bool:
        """Whether waiting alone will not change it; one that runs without a task may still get one."""
        return (
            self.healthy or self.halted or FAILED in self.states or not self.states & (ON_ITS_WAY | {RUNNING})
        )

    @property
    def failure(self) -> str:
        """Why the parts that failed did, empty if none did."""
        failed = {what: part for what, part in self.parts.items() if part.state == FAILED}
        return "; ".join(f"{what}: {part.reason or 'no trace'}" for what, part in failed.items())[
            :LONGEST_REASON
        ]

    def __str__(self) -> str:
        found = [
            f"{what} {part.state}{': ' if part.reason else ''}{part.reason}"[:LONGEST_REASON]
            for what, part in self.parts.items()
        ]
        return "; ".join([*found, "no tasks"] if self.tasks == [] else found)


class ConfigFault(NamedTuple):
    """What Connect says is wrong with one key of a configuration."""

    key: str
    error: str


class ConnectorApi(Protocol):
    """What every Kafka Connect can do with a connector; what one cannot, it refuses with WillNotHeal.

    Any call raises MayHeal for a service that is busy or out of reach, WillNotHeal for what it refuses.
    """

    name: str

    def status(self) -> ConnectorStatus:
        """Read the state. Raises WillNotHeal if there is no such connector."""

    def config(self) -> Config | None:
        """Read the configuration; None if there is no such connector."""

    def validate(self, config: Mapping[str, str]) -> list[ConfigFault]:
        """Have a configuration checked without applying it; empty if nothing is wrong."""

    def put(self, config: Mapping[str, str]) -> Change:
        """Create the connector, or give it this configuration, whole."""

    def restart(self, *, only_failed: bool) -> None:
        """Begin to restart the connector and its tasks, or those that failed."""

    def pause(self) -> None:
        """Have it process nothing, tasks kept."""

    def resume(self) -> None:
        """Have it run again after a pause or a stop."""

    def stop(self) -> None:
        """Have it shut down its tasks, configuration and offsets kept."""

    def offsets(self) -> Offsets:
        """Read up to where it has committed."""


def advice_for(status: ConnectorStatus) -> str:
    """Say what a person has to do about a connector that does not run; empty if nothing."""
    if status.healthy:
        return ""
    if status.halted:
        return "Somebody halted it. Resume it: `sales connector resume`."
    if FAILED in status.states:
        return "Mend the cause, then run `sales connector restart`."
    if status.connector.state == RUNNING and status.tasks == []:
        return (
            "Connect makes no task of it: compare topics and tasks.max (`sales connector diff`), then "
            "`sales connector restart --all`."
        )
    if status.tasks is None:
        return (
            "Make it again by Terraform."
            if status.settled
            else "MSK Connect takes minutes for this; should the next looks find it so too, see its log in CloudWatch."
        )
    return "No worker takes it up: see that Kafka Connect's workers are there, and their log."


def require_healthy(status: ConnectorStatus) -> None:
    """Pass only a healthy connector.

    Raises WillNotHeal with the cause for one that failed or was halted: somebody has to act. Raises MayHeal
    for one on its way (UNASSIGNED, RESTARTING, no tasks yet).
    """
    if status.healthy:
        return
    family = MayHeal if not status.settled else WillNotHeal
    raise family(f"{status.name} does not run ({status}).", advice_for(status))
