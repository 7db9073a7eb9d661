"""What a step of a deployment would change: found first, shown in a plan, then carried out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Action = Literal["create", "update", "delete", "unchanged", "run", "ensure"]


@dataclass(frozen=True)
class Change:
    """One thing and what is to become of it: `ensure` where nobody could look at what is there."""

    what: str
    action: Action
    detail: str = ""


def needed(changes: Iterable[Change]) -> list[Change]:
    """Leave out what is as it should be."""
    return [change for change in changes if change.action != "unchanged"]
