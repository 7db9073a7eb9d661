"""How far the sink is behind, and where that is going: two looks make a trend, by partition."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

Positions = dict[int, int]


@dataclass(frozen=True)
class Progress:
    """Where a consumer group stands on a topic at one moment (`at`, Unix seconds), by partition.

    `passed` is the offset up to which the group has committed, `ends` the one the next event will get.
    """

    at: float
    passed: Positions
    ends: Positions

    @property
    def lag(self) -> Positions:
        """Events that the group has not committed yet, by partition."""
        return {p: max(0, end - self.passed.get(p, 0)) for p, end in self.ends.items()}

    def as_details(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> Self:
        """Read what `as_details` gave, from JSON, whose keys are strings."""
        passed, ends = ({int(p): int(n) for p, n in details[key].items()} for key in ("passed", "ends"))
        return cls(float(details["at"]), passed, ends)


@dataclass(frozen=True)
class Trend:
    """How one partition's lag moves: events, events per second, and seconds, infinite where there is no end."""

    lag: int
    consumed: float
    produced: float

    @property
    def catch_up_seconds(self) -> float:
        """Time until the lag is gone: 0 without one, infinite while it grows or stands still unconsumed."""
        if self.lag == 0:
            return 0
        if self.consumed > self.produced:
            return self.lag / (self.consumed - self.produced)
        return self.backlog_seconds if self.consumed == self.produced else math.inf

    @property
    def backlog_seconds(self) -> float:
        """Time that what waits now takes at the pace of consumption, whatever is produced meanwhile."""
        if self.lag == 0:
            return 0
        return self.lag / self.consumed if self.consumed > 0 else math.inf


def trends(before: Progress, now: Progress) -> dict[int, Trend]:
    """Compare two looks, by partition. A partition that was not there before began at nothing.

    Offsets that went back (a topic made anew) count as no movement.
    """
    seconds = max(now.at - before.at, 0.001)
    return {
        p: Trend(
            lag,
            max(0, now.passed.get(p, 0) - before.passed.get(p, 0)) / seconds,
            max(0, now.ends[p] - before.ends.get(p, 0)) / seconds,
        )
        for p, lag in now.lag.items()
    }
