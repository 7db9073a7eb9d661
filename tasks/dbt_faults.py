"""What went wrong in a dbt run: which nodes, how many rows, some of them by their keys, and whether it may heal."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snowflake.connector.errors import Error

from blocks.errors import MayHeal, SalesError, WillNotHeal, message_may_heal
from blocks.warehouse import SalesWarehouse

BAD = frozenset({"error", "fail", "runtime error", "partial success"})
SAMPLE_ROWS, SAMPLED_TESTS, REASON_LENGTH = 5, 10, 300
# What may be shown of a text column: dbt's own names in generic tests, and whatever is named as a key or a place.
KEY = re.compile(r"(_key|_id|_number|_hash)$|^(unique_field|value_field|source|file_name|unit_name|layer)$")


@dataclass(frozen=True)
class Fault:
    """A failed node: its name, status, number of failing rows, dbt's reason, and a sample of failing rows."""

    node: str
    status: str
    rows: int
    reason: str
    sample: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = f", {self.rows} rows" if self.rows else ""
        sample = f" For example: {' | '.join(self.sample)}" if self.sample else ""
        return f"{self.node} ({self.status}{rows}): {self.reason}{sample}"


def read_results(target: Path) -> list[dict[str, Any]]:
    """Read the nodes' results of the last command; none if it ended before it ran any."""
    path = target / "run_results.json"
    return json.loads(path.read_text())["results"] if path.exists() else []


def merged(earlier: list[dict[str, Any]], later: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give one result per node: the later one where it was run again."""
    by_node = {result["unique_id"]: result for result in [*earlier, *later]}
    return list(by_node.values())


def faults(results: list[dict[str, Any]], warehouse: SalesWarehouse | None = None) -> Iterator[Fault]:
    """Say what failed; with a warehouse, failed tests come with a sample of the rows that failed."""
    sampled = 0
    for result in (result for result in results if result["status"] in BAD):
        reason = " ".join((result.get("message") or "").split())[:REASON_LENGTH]
        sample: tuple[str, ...] = ()
        if warehouse and result["status"] == "fail" and sampled < SAMPLED_TESTS:
            sample, sampled = sample_of(warehouse, result["compiled_code"]), sampled + 1
        name, rows = result["unique_id"].split(".")[2], int(result.get("failures") or 0)
        yield Fault(name, result["status"], rows, reason, sample)


def sample_of(warehouse: SalesWarehouse, sql: str) -> tuple[str, ...]:
    """Read some of the rows that a test's SQL finds, as `column=value, …`; see `shown` for which columns."""
    try:
        rows = warehouse.rows(f"select * from (\n{sql}\n) as failing limit {SAMPLE_ROWS}")  # noqa: S608
    except (SalesError, Error) as error:
        return (f"no sample, {' '.join(str(error).split())[:REASON_LENGTH]}",)
    return tuple(shown(row) for row in rows)


def shown(row: dict[str, Any]) -> str:
    """Show a row by its keys, numbers and times. Other text may be about a person, and stays in the warehouse."""
    told = {k: v for k, v in row.items() if v is not None and (KEY.search(k) or not isinstance(v, str))}
    return ", ".join(f"{name}={value}" for name, value in told.items()) or "no key among its columns"


def raise_for(found: list[Fault]) -> None:
    """Raise for failed nodes: MayHeal if time alone may mend every one of them, else WillNotHeal.

    A failed test is never mended by time.
    """
    if not found:
        return
    told = "\n  ".join(str(fault) for fault in found)
    if all(fault.status != "fail" and message_may_heal(fault.reason) for fault in found):
        raise MayHeal(f"dbt met trouble that may pass; what is left of the build is tried again:\n  {told}")
    raise WillNotHeal(f"dbt found faults, the marts stay as they were:\n  {told}")
