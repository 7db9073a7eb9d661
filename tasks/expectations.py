"""The gate: Great Expectations judges a layer by suites kept as data; what fails with severity `stop` ends the run."""

from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from blocks import names
from blocks.errors import WillNotHeal
from blocks.load import load_block
from blocks.warehouse import LIMITS, SalesWarehouse
from tasks.anomalies import find_anomalies
from tasks.retries import ONCE_PER_RUN
from tasks.suites import query_of, read_suites
from tasks.validation_results import (
    OBSERVED_LENGTH,
    CheckResult,
    artifact_key,
    as_table,
    judged_since,
    record,
    verdict,
)

SAMPLED_KEYS = 10
VIEWS_SCHEMA = "MONITORING"


def connection_arguments(warehouse: SalesWarehouse) -> dict[str, Any]:
    """Give what Great Expectations' Snowflake data source needs to sign in as this block does."""
    credentials = warehouse.credentials
    extra: dict[str, Any] = {**warehouse.address(), "session_parameters": LIMITS}
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


def validate(warehouse: SalesWarehouse, layer: str, run_id: str = "") -> list[CheckResult]:
    """Judge every table of a layer, by its suite and against its own history.

    `run_id` is the run whose earlier tries are no history. Raises WillNotHeal if an expectation cannot be run.
    """
    since = judged_since(warehouse, layer, run_id)
    suites = read_suites(layer)
    rows = _show_judged(warehouse, {suite["name"]: query_of(suite, since) for suite in suites})
    source = _context().data_sources.add_snowflake(
        name=layer, schema=VIEWS_SCHEMA, create_temp_table=False, **connection_arguments(warehouse)
    )
    results = []
    try:
        for suite in suites:
            asset = source.add_table_asset(suite["name"], table_name=_view(suite["name"]))
            batch = asset.add_batch_definition_whole_table("whole").get_batch()
            results += _judge(batch, suite, rows[suite["name"]])
    finally:
        source.get_engine().dispose()
    return results + find_anomalies(warehouse, layer, since, run_id)


def _view(name: str) -> str:
    return f"judged_{name}"


def _show_judged(warehouse: SalesWarehouse, queries: dict[str, str]) -> dict[str, int]:
    """Make a view of what each suite judges, MONITORING.JUDGED_<suite>, and count its rows.

    Given a query, Great Expectations runs all of it to learn its columns, millions of rows; a view has them
    written down. It also is where a person finds the failing rows.
    """
    views = {name: f"{VIEWS_SCHEMA}.{_view(name)}" for name in queries}
    counts = [f"select '{name}' as name, count(*) as n from {view}" for name, view in views.items()]  # noqa: S608
    with warehouse.session(query_tag="sales-checks") as connection, connection.cursor() as cursor:
        for name, query in queries.items():
            cursor.execute(f"create or replace view {views[name]} as {query}")
        cursor.execute(" union all ".join(counts))
        return {name: int(n) for name, n in cursor.fetchall()}


def _context() -> Any:
    """Give a context of Great Expectations that lives in memory: what signs in there is written nowhere."""
    import great_expectations as gx  # two to four seconds: only where it is needed
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    # Its own default makes a folder for Data Docs each time, and leaves it behind.
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(), progress_bars={"globally": False}
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _judge(batch: Any, suite: dict[str, Any], rows: int) -> list[CheckResult]:
    """Ask yes or no first, which is one scan for a whole suite; ask what was seen only where it is no.

    Checks marked `measured` are asked what was seen in any case, for their trend.
    """
    checks = suite["expectations"]
    answers = _ask(batch, suite, checks, rows, "BOOLEAN_ONLY")
    told = [check for check in checks if check.get("measured") or not answers[check["id"]].success]
    return list((answers | (_ask(batch, suite, told, rows, "SUMMARY") if told else {})).values())


def _ask(
    batch: Any, suite: dict[str, Any], checks: list[dict[str, Any]], rows: int, detail: str
) -> dict[str, CheckResult]:
    import great_expectations as gx

    expectations = [_expectation(gx, check) for check in checks]
    wanted: dict[str, Any] = {"result_format": detail}
    if detail != "BOOLEAN_ONLY":
        wanted |= {"unexpected_index_column_names": suite["key"], "partial_unexpected_count": SAMPLED_KEYS}
    outcome = batch.validate(
        gx.ExpectationSuite(name=suite["name"], expectations=expectations), result_format=wanted
    )
    results = [_result(suite, found, rows) for found in outcome.to_json_dict()["results"]]
    return {result.check_id: result for result in results}


def _expectation(gx: Any, check: dict[str, Any]) -> Any:
    kind = "".join(word.title() for word in check["type"].split("_"))  # expect_x_y is the class ExpectXY
    meta = {name: check.get(name) for name in ("id", "severity", "counts")}
    return getattr(gx.expectations, kind)(**check["kwargs"], meta=meta)


def _result(suite: dict[str, Any], found: dict[str, Any], rows: int) -> CheckResult:
    meta, seen = found["expectation_config"]["meta"], found["result"]
    if fault := _exception_in(found.get("exception_info") or {}):
        raise WillNotHeal(f"{suite['table']}.{meta['id']} could not be run: {fault}")
    success, value = bool(found["success"]), seen.get("observed_value")
    unexpected = seen.get("unexpected_count", 0 if success and "mostly" not in _kwargs(found) else None)
    if meta["counts"] and value is not None:
        unexpected, value = int(value), None
    number = value if isinstance(value, int | float) else unexpected
    keys = [
        {name: key[name] for name in suite["key"]} for key in seen.get("partial_unexpected_index_list") or []
    ]
    return CheckResult(
        table=suite["table"],
        check_id=meta["id"],
        severity=meta["severity"],
        success=success,
        observed="" if value is None else f"seen: {value}"[:OBSERVED_LENGTH],
        value=None if number is None else float(number),
        unexpected=unexpected,
        rows=None if meta["counts"] else rows,
        keys=tuple(keys[:SAMPLED_KEYS]),
        unit=suite.get("unit", "rows"),
    )


def _kwargs(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["expectation_config"]["kwargs"])


def _exception_in(info: dict[str, Any]) -> str | None:
    """Give the message of an exception; Great Expectations nests one per metric, or has a single one."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return next((str(e["exception_message"]) for e in entries if e.get("raised_exception")), None)


@task(name="check layer", task_run_name="check {layer}", **ONCE_PER_RUN)
def check_layer(
    layer: str,
    made_of: str = "",  # noqa: ARG001 (part of the answer's name, see ONCE_PER_RUN)
) -> list[CheckResult]:
    """Judge a layer, write the results down and show them, and stop the run if a `stop` check fails.

    `made_of` is the fingerprint of what is judged: a run that is run again takes its earlier answer for the same.
    """
    warehouse, logger, run_id = (
        load_block(SalesWarehouse, names.WAREHOUSE),
        get_run_logger(),
        str(flow_run.id),
    )
    results = validate(warehouse, layer, run_id)
    record(warehouse, run_id, layer, results)
    create_table_artifact(as_table(results), key=artifact_key(layer), description=f"Checks of {layer}")
    for result in results:
        if not result.success:
            logger.warning("%s (%s)", result.in_words(), result.severity)
    logger.info("%s: %d of %d checks passed", layer, sum(r.success for r in results), len(results))
    verdict(run_id, layer, results)
    return results
