"""Data Docs: Great Expectations' own pages, made of what MONITORING.VALIDATION_RESULTS holds.

They are made when somebody asks, not by the gate. Nothing is judged again, so the context of Great Expectations
that makes them knows no data source and has no credentials to write down.
"""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.suites import SUITES, read_anomalies, read_suites
from tasks.validation_results import keys_in_words

SITE = "local_site"


def build_data_docs(results: Iterable[dict[str, Any]], target: Path, suites: Path = SUITES) -> Path:
    """Render the stored results of one run (rows of `read_run`) into `target`, in place of what is there.

    One page for each table that was judged, and an index of them. Gives the index.
    """
    import great_expectations as gx

    judged: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in results:
        judged[row["layer"], row["table_name"]].append(row)
    with tempfile.TemporaryDirectory(prefix="data-docs-") as folder:
        context = gx.get_context(mode="file", project_root_dir=folder)
        for (layer, table), rows in judged.items():
            _store(context, table, rows, declared_checks(layer, table, suites))
        context.update_data_docs_site(SITE, _site(Path(folder) / "site"))
        context.build_data_docs(site_names=[SITE])
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(folder) / "site", target)
    return target / "index.html"


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }


def declared_checks(layer: str, table: str, folder: Path = SUITES) -> dict[str, dict[str, Any]]:
    """Read the declarations of a table's checks, suites' and anomalies', by id."""
    suites = [suite for suite in read_suites(layer, folder) if suite["table"] == table]
    anomalies = [anomaly for anomaly in read_anomalies(layer, folder) if anomaly["table"] == table]
    checks = [check for suite in suites for check in suite["expectations"]]
    return {check["id"]: check for check in [*checks, *(c for a in anomalies for c in a["checks"])]}


def _store(context: Any, table: str, rows: list[dict[str, Any]], declared: dict[str, dict[str, Any]]) -> None:
    """Put a table's results where Great Expectations keeps those of its own validations."""
    from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult, RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    context.suites.add(ExpectationSuite(name=table))
    passed = sum(bool(row["success"]) for row in rows)
    run = RunIdentifier(run_name=rows[0]["run_id"], run_time=rows[0]["judged_at"])
    outcome = ExpectationSuiteValidationResult(
        success=all(row["success"] or row["severity"] != "stop" for row in rows),
        results=[_result(row, declared.get(row["check_id"], {})) for row in rows],
        suite_name=table,
        statistics={
            "evaluated_expectations": len(rows),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(rows) - passed,
            "success_percent": 100 * passed / len(rows),
        },
        meta={"run_id": run, "layer": rows[0]["layer"], "batch_spec": {}},
    )
    key = ValidationResultIdentifier(ExpectationSuiteIdentifier(table), run, batch_identifier=table)
    context.validation_results_store.set(key, outcome)


def _result(row: dict[str, Any], declared: dict[str, Any]) -> Any:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    about = f" of {row['series']} {row['subject']}" if row["series"] else ""
    count, judged = row["unexpected_count"], int(row["rows_judged"] or 0)
    return ExpectationValidationResult(
        success=bool(row["success"]),
        # What Great Expectations does not judge itself is shown as a query for unexpected rows, by its description.
        expectation_config=ExpectationConfiguration(
            type=declared.get("type", "unexpected_rows_expectation"),
            kwargs=declared.get(
                "kwargs", {"unexpected_rows_query": f"{declared.get('measure', '?')} of {{batch}}"}
            ),
            description=f"{row['check_id']}{about} ({row['severity']}) {row['observed'] or ''}".strip(),
        ),
        result={
            "element_count": judged,
            "unexpected_count": int(count or 0),
            "unexpected_percent": 100 * int(count or 0) / judged if judged else 0.0,
            "observed_value": row["observed"] or None,
            "partial_unexpected_list": [keys_in_words(key) for key in row["sample_keys"]],
        },
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )
