"""What the pipeline promises, as data: thresholds and objectives of monitoring/slos.yml, and judging by them."""

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, Field

from blocks.settings import PROJECT
from tasks.findings import Finding, Status

FILE = PROJECT / "monitoring" / "slos.yml"


class Slo(BaseModel, frozen=True, extra="forbid"):
    """Thresholds of a check; with an `objective`, the share of good ones promised over `window_days`."""

    name: str
    warn: float
    fail: float
    runbook: str
    objective: float | None = Field(None, gt=0, lt=1)
    window_days: int = 30
    at_least: int = Field(1, description="Of fewer than this a share says nothing.")


class Burn(BaseModel, frozen=True, extra="forbid"):
    """From which burn rate on, over how many seconds, the error budget is in danger."""

    seconds: int
    rate: float


class Slos(BaseModel, frozen=True, extra="forbid"):
    """All of the file."""

    windows: dict[str, int]
    burn: dict[str, Burn]
    budget: dict[str, float]
    slos: list[Slo]

    def of(self, *names: str) -> Slo:
        """Give the first of these that is declared."""
        declared = {slo.name: slo for slo in self.slos}
        return next(declared[name] for name in names if name in declared)


@cache
def read_slos(file: Path = FILE) -> Slos:
    """Read the declarations."""
    return Slos.model_validate(yaml.safe_load(file.read_text()))


def judge(check: str, measured: float, value: str, slo: Slo, unit: str, advice: str) -> Finding:
    """Hold a number against both thresholds; where `fail` is below `warn`, less is worse."""
    sign = -1 if slo.fail < slo.warn else 1
    over = [sign * measured >= sign * limit for limit in (slo.warn, slo.fail)]
    status: Status = "fail" if over[1] else "warn" if over[0] else "ok"
    wanted = f"{'under' if sign > 0 else 'over'} {slo.warn:g}{unit}, failing from {slo.fail:g}{unit}"
    return Finding(check, status, value, wanted, f"{advice} See {slo.runbook}." * (status != "ok"), measured)


def burn_rate(bad: float, total: float, objective: float) -> float:
    """Say how many times faster than allowed the error budget burns; 0 for nothing seen."""
    return (bad / total) / (1 - objective) if total else 0.0


def judge_burn(
    slo: Slo, fast: tuple[float, float], slow: tuple[float, float], burn: dict[str, Burn]
) -> Finding:
    """Judge (bad, total) of the fast and of the slow window: a failure if the fast one burns, a warning if the slow."""
    assert slo.objective
    rates = {
        name: burn_rate(*counts, slo.objective) if counts[1] >= slo.at_least else 0.0
        for name, counts in (("fast", fast), ("slow", slow))
    }
    burning = [name for name, rate in rates.items() if rate >= burn[name].rate]
    status: Status = "ok" if not burning else "fail" if "fast" in burning else "warn"
    value = ", ".join(
        f"{rate:.1f} times over {burn[name].seconds / 3600:g} h" for name, rate in rates.items()
    )
    wanted = ", ".join(f"under {b.rate:g} over {b.seconds / 3600:g} h" for b in burn.values())
    advice = f"At this pace the budget of {slo.window_days} days is gone early. See {slo.runbook}."
    check = f"burn {slo.name.replace(' ', '_')}"
    return Finding(check, status, f"{value}.", wanted, advice * bool(burning), round(max(rates.values()), 3))
