"""What is kept of a dbt run: its artifacts and docs in storage, below the flow run's id, and a page in Prefect."""

import gzip
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from blocks.storage import Storage, upload, uri
from tasks.dbt_faults import Fault
from tasks.dbt_freshness import Freshness

FOLDER = "dbt"
DOCS = "docs.html"
JSON_FILES = ("manifest.json", "run_results.json", "sources.json", "catalog.json")
SLOWEST = 5


def keep(storage: Storage, run_id: str, target: Path, attempt: int) -> dict[str, str]:
    """Store a target folder's artifacts below `dbt/<run id>/`; give the address of each.

    The JSON files are gzipped, to a tenth. A later attempt has results of its own, `run_results.2.json.gz`; the
    other files describe the project and are written again. The docs are one HTML file that needs no server.
    """
    kept = {}
    for name in JSON_FILES:
        if (source := target / name).exists():
            packed = target / f"{name}.gz"
            with source.open("rb") as plain, gzip.open(packed, "wb") as file:
                shutil.copyfileobj(plain, file)
            kept[name] = _store(storage, packed, f"{FOLDER}/{run_id}/{_numbered(name, attempt)}.gz")
    if (docs := target / "static_index.html").exists():
        kept[DOCS] = _store(storage, docs, f"{FOLDER}/{run_id}/{DOCS}")
    return kept


def _store(storage: Storage, source: Path, path: str) -> str:
    upload(storage, source, path)
    return uri(storage, path)


def _numbered(name: str, attempt: int) -> str:
    return name if attempt == 1 or name != "run_results.json" else f"run_results.{attempt}.json"


def count_statuses(results: list[dict[str, Any]]) -> dict[str, int]:
    """Count the nodes by status."""
    return dict(Counter(result["status"] for result in results))


def page(
    results: list[dict[str, Any]], found: list[Fault], sources: list[Freshness], kept: dict[str, str]
) -> str:
    """Write the build as markdown: nodes by status, what failed, the slowest nodes, the sources, the files."""
    slowest = sorted(results, key=lambda result: -result["execution_time"])[:SLOWEST]
    tables = [
        ("Nodes", "status | nodes", list(count_statuses(results).items())),
        ("Failed", "node | status | rows | reason | sample", [_cells(fault) for fault in found]),
        ("Slowest", "node | seconds", [(r["unique_id"], f"{r['execution_time']:.2f}") for r in slowest]),
        ("Sources", "source | status | age in hours", [(s.source, s.status, s.hours) for s in sources]),
        ("Files", "file | address", list(kept.items())),
    ]
    return "# dbt build\n" + "".join(_table(*table) for table in tables)


def _cells(fault: Fault) -> tuple[Any, ...]:
    return fault.node, fault.status, fault.rows, fault.reason, "; ".join(fault.sample)


def _table(title: str, head: str, rows: list[tuple[Any, ...]]) -> str:
    if not rows:
        return ""
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(
        [f"\n## {title}\n", f"| {head} |", "|---" * len(rows[0]) + "|", *(f"| {x} |" for x in lines), ""]
    )
