"""The account every engine of the benchmark leaves as `_metrics.json`, in the Spark job's own form."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

DUPLICATE = None


def account(spec: dict[str, Any], counted: Iterable[tuple[str, str | None, int]]) -> dict[str, Any]:
    """Make the account of rows by file name and fate: rule ids, "" for valid lines, None for duplicates."""
    fates: dict[str, Counter[str | None]] = defaultdict(Counter)
    for file_name, fate, rows in counted:
        fates[file_name][fate] += rows
    files = [{"name": file["name"], **_counts(fates[file["name"]])} for file in spec["files"]]
    totals = {
        name: sum(file[name] for file in files)
        for name in ("rows_read", "rows_valid", "rows_quarantined", "rows_duplicate")
    }
    return {"batch_id": spec["batch_id"], "files": files, "totals": totals}


def _counts(fates: Counter[str | None]) -> dict[str, Any]:
    rules: Counter[str] = Counter()
    for ids, rows in fates.items():
        rules.update({rule_id: rows for rule_id in (ids or "").split(",") if rule_id})
    valid, duplicate = fates[""], fates[DUPLICATE]
    return {
        "rows_read": fates.total(),
        "rows_valid": valid,
        "rows_quarantined": fates.total() - valid - duplicate,
        "rows_duplicate": duplicate,
        "rules": dict(sorted(rules.items())),
    }
