"""What is checked, as data: `expectations/<suite>.yml`, and `expectations/anomalies.yml` for what is unusual."""

from pathlib import Path
from typing import Any

import yaml

from blocks.settings import PROJECT

SUITES = PROJECT / "expectations"
ANOMALIES = "anomalies.yml"
# A failed `stop` keeps readers from what is judged; a failed `warn` is told and lets it pass.
STOP, WARN = "stop", "warn"


def read_suites(layer: str, folder: Path = SUITES) -> list[dict[str, Any]]:
    """Read the suites of a layer (`raw` or `marts_candidate`), in order of file name, which is the suite's name."""
    paths = sorted(path for path in folder.glob("*.yml") if path.name != ANOMALIES)
    suites = [{"name": path.stem, **yaml.safe_load(path.read_text())} for path in paths]
    return [suite for suite in suites if suite["layer"] == layer]


def read_anomalies(layer: str, folder: Path = SUITES) -> list[dict[str, Any]]:
    """Read what is judged against its own history in a layer."""
    declared = yaml.safe_load((folder / ANOMALIES).read_text())
    return [anomaly for anomaly in declared if anomaly["layer"] == layer]


def query_of(suite: dict[str, Any], since: dict[str, Any]) -> str:
    """Give the query whose rows are judged; `since` holds judged_since and judged_since_ms."""
    table = f"{suite['schema']}.{suite['table']}"
    return str(suite.get("query", "select * from {table}")).format(table=table, **since)
