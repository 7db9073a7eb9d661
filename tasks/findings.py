"""Findings: what a check saw, against what, and what to do; and which of them are worth telling again."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from blocks.errors import SalesError

Status = Literal["ok", "warn", "fail"]
RANK: dict[str, int] = {"ok": 0, "warn": 1, "fail": 2}
MARKS = {"ok": "✅", "warn": "⚠️", "fail": "❌"}


@dataclass(frozen=True)
class Finding:
    """What one check found.

    `value` is what was found, `threshold` what it is held against, `advice` what a person is to do (empty if
    nothing). `measured` is the number in it for a chart, `details` what the check's next look compares with, `trend`
    how the number moves, where earlier looks are known.
    """

    check: str
    status: Status
    value: str
    threshold: str
    advice: str = ""
    measured: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    trend: str = ""

    def as_row(self) -> dict[str, str]:
        """Give the finding as a row of the table that people read."""
        return {
            "check": self.check,
            "status": self.status,
            "": MARKS[self.status],
            "value": self.value,
            "threshold": self.threshold,
            "advice": self.advice,
        }

    def as_data(self) -> dict[str, Any]:
        """Give the finding as JSON can hold it; a number without end is left out."""
        endless = self.measured is not None and not math.isfinite(self.measured)
        return asdict(self) | ({"measured": None} if endless else {})


@dataclass(frozen=True)
class News:
    """What is worth telling after a look: that things got worse, that they are well again, or neither."""

    worse: list[Finding]
    recovered: list[str]


def failed_check(check: str, threshold: str, error: SalesError) -> Finding:
    """Make the finding of a check that could not be made."""
    return Finding(check, "fail", error.what, threshold, error.advice)


def overall(findings: Iterable[Finding]) -> Status:
    """Give the worst status; ok for no findings."""
    return max((finding.status for finding in findings), key=RANK.__getitem__, default="ok")


def worse_than(before: Mapping[str, str], findings: Iterable[Finding]) -> list[Finding]:
    """Give what is not ok and was better before, or not known to be bad, by the status of each check."""
    return [f for f in findings if RANK[f.status] > RANK[before.get(f.check, "ok")]]


def news_since(before: Mapping[str, str], findings: list[Finding]) -> News:
    """Compare a look with the status of each check at the look before it.

    Worse is what `worse_than` gives. Recovered are the checks that failed
    before, once nothing fails any more: told once, because the next look starts from there.
    """
    failing = {check for check, status in before.items() if status == "fail"}
    return News(worse_than(before, findings), [] if overall(findings) == "fail" else sorted(failing))


def message(findings: Iterable[Finding]) -> str:
    """Say what was found and what to do, one line for each finding that is not ok, the worst first."""
    told = sorted((f for f in findings if f.status != "ok"), key=lambda f: -RANK[f.status])
    return "\n".join(f"{MARKS[f.status]} {f.check}: {f.value} {f.advice}".rstrip() for f in told)
