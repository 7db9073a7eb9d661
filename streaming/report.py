"""What became of the events that were published."""

from dataclasses import dataclass


@dataclass
class PublishReport:
    """What became of the events, as counts.

    `taken` were asked for; of these and of those found in the spill (`resent` of which are gone from there) some
    were `produced` to the topic, `rejected` to the dead letters, and `waiting` is what the spill holds; `spilled`
    counts what was put there meanwhile. Without a spill, `failed` is what was not delivered. `bytes` are those of
    the values sent. While some are unconfirmed (`queued`), `rejected` counts dead letters as soon as they are sent.
    """

    taken: int = 0
    produced: int = 0
    rejected: int = 0
    failed: int = 0
    spilled: int = 0
    resent: int = 0
    waiting: int = 0
    queued: int = 0
    bytes: int = 0
    seconds: float = 0.0
    first_error: str | None = None
