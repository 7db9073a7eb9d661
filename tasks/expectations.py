"""Great Expectations: suites kept as data judge a layer; what fails critically stops the run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect import get_run_logger, task
from prefect.runtime import flow_run

from blocks import names
from blocks.errors import WillNotHeal
from blocks.load import load_block
from blocks.settings import PROJECT
from blocks.warehouse import SalesWarehouse
from tasks.retries import RETRY

SUITES = PROJECT / "expectations"
CRITICAL = "critical"
OBSERVED_LENGTH = 1000


@dataclass(frozen=True)
class CheckResult:
    """One judged expectation; `observed` is what was found, in short."""

    table: str
    check_id: str
    severity: str
    success: bool
    observed: str


def read_suites(layer: str, folder: Path = SUITES) -> list[dict[str, Any]]:
    """Read the suites of a layer (`raw` or `marts_candidate`), in order of file name."""
    suites = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yml"))]
    return [suite for suite in suites if suite["layer"] == layer]


def connection_arguments(warehouse: SalesWarehouse) -> dict[str, Any]:
    """Give what Great Expectations' Snowflake data source needs to sign in as this block does."""
    credentials = warehouse.credentials
    extra: dict[str, Any] = dict(warehouse.address())
    if key := credentials.resolve_private_key():
        extra["private_key"] = key
    # The data source insists on a password even where a key signs in (great_expectations#10031).
    password = credentials.password.get_secret_value() if credentials.password else "unused"
    return {
        "account": credentials.account,
        "user": credentials.user,
        "password": password,
        "database": warehouse.database,
        "warehouse": warehouse.warehouse,
        "role": credentials.role or "PUBLIC",
        "kwargs": {"connect_args": extra},
    }


def validate(warehouse: SalesWarehouse, layer: str) -> list[CheckResult]:
    """Judge every table of a layer by its suite. Raises WillNotHeal if an expectation cannot be run."""
    import great_expectations as gx  # two to four seconds: only where it is needed

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    sources: dict[str, Any] = {}  # one per schema: each signs in anew
    results = []
    for suite in read_suites(layer):
        schema = suite["schema"]
        if schema not in sources:
            sources[schema] = context.data_sources.add_snowflake(
                name=schema, schema=schema, create_temp_table=False, **connection_arguments(warehouse)
            )
        query = suite.get("query", "select * from {table}").format(table=f"{schema}.{suite['table']}")
        asset = sources[schema].add_query_asset(suite["table"], query=query)
        batch = asset.add_batch_definition_whole_table("whole").get_batch()
        results += _judge(gx, batch, suite)
    return results


def _judge(gx: Any, batch: Any, suite: dict[str, Any]) -> list[CheckResult]:
    """Ask yes or no first, which takes few queries for a whole suite; ask what was seen only where it is no."""
    name, checks = suite["table"], suite["expectations"]
    answers = _ask(gx, batch, name, checks, "BOOLEAN_ONLY")
    failed = [check for check in checks if not answers[check["id"]].success]
    return list((answers | (_ask(gx, batch, name, failed, "BASIC") if failed else {})).values())


def _ask(
    gx: Any, batch: Any, table: str, checks: list[dict[str, Any]], detail: str
) -> dict[str, CheckResult]:
    expectations = [_expectation(gx, check) for check in checks]
    outcome = batch.validate(gx.ExpectationSuite(name=table, expectations=expectations), result_format=detail)
    results = [_result(table, found) for found in outcome.to_json_dict()["results"]]
    return {result.check_id: result for result in results}


def _expectation(gx: Any, check: dict[str, Any]) -> Any:
    kind = "".join(word.title() for word in check["type"].split("_"))  # expect_x_y is the class ExpectXY
    meta = {"id": check["id"], "severity": check.get("severity", CRITICAL)}
    return getattr(gx.expectations, kind)(**check["kwargs"], meta=meta)


def _result(table: str, found: dict[str, Any]) -> CheckResult:
    meta = found["expectation_config"]["meta"]
    if fault := _exception_in(found.get("exception_info") or {}):
        raise WillNotHeal(f"{table}.{meta['id']} could not be run: {fault}")
    seen = {k: v for k, v in found["result"].items() if k in {"observed_value", "unexpected_count"}}
    observed = json.dumps(seen, default=str)[:OBSERVED_LENGTH]
    return CheckResult(table, meta["id"], meta["severity"], bool(found["success"]), observed)


def _exception_in(info: dict[str, Any]) -> str | None:
    """Give the message of an exception; Great Expectations nests one per metric, or has a single one."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return next((str(e["exception_message"]) for e in entries if e.get("raised_exception")), None)


def record(warehouse: SalesWarehouse, run_id: str, layer: str, results: list[CheckResult]) -> None:
    """Write every result to MONITORING.CHECK_RESULTS in one statement."""
    with warehouse.session(query_tag="sales-checks") as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into MONITORING.CHECK_RESULTS "
            "select %s, %s, f.value:table::varchar, f.value:check_id::varchar, f.value:severity::varchar, "
            "f.value:success::boolean, f.value:observed::varchar, sysdate() "
            "from table(flatten(input => parse_json(%s))) f",
            (run_id, layer, json.dumps([asdict(result) for result in results])),
        )


def verdict(layer: str, results: list[CheckResult]) -> None:
    """Raise WillNotHeal naming each critical check that failed, and what was seen instead."""
    failed = [r for r in results if not r.success and r.severity == CRITICAL]
    if failed:
        lines = "\n  ".join(f"{r.table}.{r.check_id}: {r.observed}" for r in failed)
        raise WillNotHeal(
            f"{len(failed)} checks of layer {layer} failed; the marts stay as they were:\n  {lines}"
        )


@task(name="check layer", task_run_name="check {layer}", **RETRY)
def check_layer(layer: str) -> list[CheckResult]:
    """Judge a layer, write the results down, and stop the run if a critical expectation fails."""
    warehouse, logger = load_block(SalesWarehouse, names.WAREHOUSE), get_run_logger()
    results = validate(warehouse, layer)
    record(warehouse, str(flow_run.id), layer, results)
    for result in results:
        if not result.success:
            logger.warning(
                "%s.%s failed (%s): %s", result.table, result.check_id, result.severity, result.observed
            )
    logger.info("%s: %d of %d checks passed", layer, sum(r.success for r in results), len(results))
    verdict(layer, results)
    return results
