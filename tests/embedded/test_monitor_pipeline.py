"""The pipeline's monitoring on the embedded stack: all well, then each check made to fail for real."""

import threading
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws import AwsCredentials
from prefect_aws.client_parameters import AwsClientParameters

from blocks import names
from blocks.kafka import KafkaCluster
from blocks.kafka_connect import KafkaConnect
from blocks.monitoring import MetricsTarget
from blocks.register import kafka_connect_from, register
from flows.monitor_pipeline import monitor_pipeline
from streaming.generator import sale_events, write_store_files
from tasks.kafka_connect import open_connector
from tasks.probes import ask_all, ask_prefect, probes
from tasks.slos import Slo, read_slos

SLOS = read_slos()


def with_limits(**limits: dict[str, float]) -> Any:
    """The declared objectives, some with other thresholds (names with an underscore for the blank)."""
    changed = {name.replace("__", " "): values for name, values in limits.items()}
    slos = [slo.model_copy(update=changed.get(slo.name, {})) for slo in SLOS.slos]
    return SLOS.model_copy(update={"slos": slos})


# Other modules of the same session let runs, lines and validations fail on purpose.
CALM = {
    f"errors__{name}": {"warn": 2, "fail": 3, "objective": None}
    for name in ("flow_runs", "task_runs", "quarantine", "dead_letters", "validations")
}


def look(**limits: dict[str, float]) -> dict[str, dict[str, Any]]:
    return {f["check"]: f for f in monitor_pipeline(with_limits(**CALM | limits))["findings"]}


def told(pipeline, what: str) -> list[str]:
    EventsWorker.drain_all(timeout=5)
    return [text for text in pipeline.slack() if text.startswith("*Sales pipeline") and what in text]


def wait_until(condition: Any, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def sql(pipeline, *statements: str) -> None:
    with pipeline.warehouse.session() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def cloudwatch(pipeline, moto):
    """Metrics go to CloudWatch and to a file; afterwards the blocks are the stack's again."""
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "eu-west-1"}
    known = MetricsTarget.load(names.METRICS)
    aws = AwsCredentials(**keys, aws_client_parameters=AwsClientParameters(endpoint_url=moto))
    known.model_copy(update={"cloudwatch_namespace": "Sales", "aws": aws}).save(names.METRICS, overwrite=True)
    yield boto3.client("cloudwatch", endpoint_url=moto, **keys)
    list(register(pipeline.settings))


def metric(cloudwatch, name: str, component: str) -> dict[str, Any]:
    dimensions = [{"Name": "Environment", "Value": "embedded"}, {"Name": "Component", "Value": component}]
    now = time.time()
    return cloudwatch.get_metric_statistics(
        Namespace="Sales", MetricName=name, Dimensions=dimensions, StartTime=now - 600, EndTime=now + 600,
        Period=86_400, Statistics=["Maximum"],
    )["Datapoints"]  # fmt: skip


def exposed(pipeline, kind: str, component: str) -> float:
    text = Path(pipeline.settings.metrics_file).read_text()
    start = f'sales_check_status{{component="{component}",environment="embedded",kind="{kind}"}} '
    return next(float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start))


@pytest.fixture(scope="module")
def loaded(pipeline):
    """A feed that has been loaded and published."""
    if not pipeline.warehouse.rows("select 1 from MONITORING.PUBLICATIONS limit 1"):
        write_store_files(pipeline.drop("store_sales"), seed=71, files=1, rows=300)
        pipeline.run("store_sales")


def test_a_healthy_pipeline_is_well_within_20_seconds(pipeline, loaded, cloudwatch):
    before = monitor_pipeline(with_limits(**CALM))
    began = time.monotonic()
    result = monitor_pipeline(with_limits(**CALM))
    assert time.monotonic() - began < 20
    assert [f for f in result["findings"] if f["status"] != "ok"] == []
    assert result["status"] == "ok"
    kinds = {f["check"].split()[0] for f in result["findings"]}
    assert kinds == {
        *("available", "fresh", "errors", "burn", "capacity", "queue", "slow", "spill", "time", "lag", "disk")
    }
    assert result["metrics"]["cloudwatch"].endswith("metrics sent")
    assert metric(cloudwatch, "AvailableStatus", "kafka")[0]["Maximum"] == 0
    assert exposed(pipeline, "available", "prefect") == 0
    trends = {f["check"]: f["trend"] for f in result["findings"]}
    assert "(median of " in trends["available warehouse"]
    rows = pipeline.warehouse.rows("select count(distinct run_id) as runs from MONITORING.PIPELINE_HEALTH")
    assert rows[0]["runs"] >= 2
    assert len(before["findings"]) >= 30


def test_without_a_namespace_cloudwatch_is_not_configured(pipeline):
    from tasks.metrics import put_metrics

    assert put_metrics(MetricsTarget(environment="x", aws=AwsCredentials()), []) == 0


@pytest.mark.parametrize("component", ["kafka", "connect", "warehouse", "databricks", "storage_raw"])
def test_a_service_that_is_away_is_found(pipeline, loaded, component, monkeypatch):
    from prefect.filesystems import LocalFileSystem
    from prefect_databricks import DatabricksCredentials

    from tasks import probes as module

    monkeypatch.setattr("blocks.warehouse.LOGIN_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr("tasks.kafka.TIMEOUT_SECONDS", 2)
    away = {
        "kafka": lambda: module.ask_kafka(KafkaCluster(bootstrap_servers="127.0.0.1:1")),
        "connect": lambda: module.ask_connect(KafkaConnect(url="http://127.0.0.1:1")),
        "warehouse": lambda: module.ask_warehouse(
            pipeline.warehouse.model_copy(update={"server_url": "http://127.0.0.1:1"})
        ),
        "databricks": lambda: module.ask_databricks(
            DatabricksCredentials(databricks_instance="127.0.0.1:1", token="t")
        ),
        "storage_raw": lambda: module.ask_storage(LocalFileSystem(basepath="/nowhere/at/all")),
    }
    (finding,) = ask_all({component: away[component]}, SLOS.of("available"))
    assert (finding.check, finding.status) == (f"available {component}", "fail")
    assert "pipeline-unhealthy.md" in finding.advice


def test_an_api_that_is_away_and_a_service_that_hangs_are_found():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        (finding,) = ask_all({"prefect": ask_prefect}, SLOS.of("available"))
    assert (finding.check, finding.status) == ("available prefect", "fail")
    release = threading.Event()
    quick = Slo(name="available", warn=0.1, fail=0.3, runbook="r")
    began = time.monotonic()
    (hung,) = ask_all({"kafka": lambda: release.wait(10)}, quick)
    release.set()
    assert (hung.status, hung.value) == ("fail", "It has not answered for 0.3 s.")
    assert time.monotonic() - began < 2


def test_every_service_answers(pipeline):
    assert {f.status for f in ask_all(probes(), SLOS.of("available"))} == {"ok"}


def test_what_is_away_and_old_is_told_once_and_so_is_the_recovery(pipeline, loaded, cloudwatch, monkeypatch):
    monkeypatch.setattr("tasks.kafka.TIMEOUT_SECONDS", 2)
    known = KafkaCluster.load(names.KAFKA)
    age = "update MONITORING.PUBLICATIONS set published_at = dateadd(day, {}, published_at)"
    try:
        known.model_copy(update={"bootstrap_servers": "127.0.0.1:1"}).save(names.KAFKA, overwrite=True)
        sql(pipeline, age.format(-3))
        found = look()
        look()
        assert (found["available kafka"]["status"], found["fresh marts"]["status"]) == ("fail", "fail")
        assert "lag sales_events" not in found
        assert metric(cloudwatch, "FreshStatus", "marts")[0]["Maximum"] == 2
        assert exposed(pipeline, "available", "kafka") == 2
    finally:
        known.save(names.KAFKA, overwrite=True)
        sql(pipeline, age.format(3))
    (message,) = wait_until(lambda: told(pipeline, "fresh marts fail"))
    assert "❌ fresh marts: The newest is 7" in message
    assert message.count("pipeline-unhealthy.md") >= 1
    assert {look()[check]["status"] for check in ("available kafka", "fresh marts")} == {"ok"}
    wait_until(lambda: told(pipeline, "fresh marts recovered"))
    wait_until(lambda: told(pipeline, "available kafka recovered"))
    assert len(told(pipeline, "available kafka fail")) == 1


def test_slow_waiting_and_growing_are_found(pipeline, loaded):
    """A slow statement, one that waits for another's rows, events that do not land, rows beyond the budget."""
    slow = "select count(*) from table(generator(rowcount => 30000)) a, table(generator(rowcount => 30000)) b"
    touch = "update MONITORING.PIPELINE_HEALTH set run_id = run_id || '.'"
    with pipeline.warehouse.session(query_tag="sales-slow") as holder, holder.cursor() as cursor:
        cursor.execute("begin")
        cursor.execute(touch)
        waiting = threading.Thread(target=sql, args=(pipeline, touch))
        waiting.start()
        cursor.execute(slow)
        time.sleep(1)
        cursor.execute("commit")
        waiting.join()
    sink = open_connector(kafka_connect_from(pipeline.settings))
    sink.pause()
    try:
        wait_until(lambda: sink.status().connector.state == "PAUSED")
        pipeline.publish(sale_events(77, 5))
        found = look(
            slow__warehouse={"warn": 0.05, "fail": 0.1},
            queue__warehouse={"warn": 0.01, "fail": 0.02},
            lag__sales_events={"warn": 2, "fail": 5},
            capacity__storage={"warn": 5000, "fail": 4000},
        )
    finally:
        sink.resume()
        wait_until(lambda: sink.status().healthy)
    for check in ("slow warehouse", "queue warehouse", "lag sales_events", "capacity storage"):
        assert found[check]["status"] == "fail", found[check]
    assert found["lag sales_events"]["measured"] == 5
    assert any(check.startswith("time ") for check in found)
    wait_until(lambda: told(pipeline, "lag sales_events fail"))


def test_what_goes_wrong_in_loads_and_checks_is_found(pipeline, loaded):
    row = (
        "insert into MONITORING.LOAD_AUDIT (load_id, unit_kind, unit_name, source, rows_read, rows_loaded, "
        "rows_quarantined, rows_duplicate, loaded_at) select 'planted', '{}', 'x', '{}', 1000000, 0, 1000000, 0, "
        "sysdate()"
    )
    check = (
        "insert into MONITORING.VALIDATION_RESULTS (run_id, layer, table_name, check_id, severity, success, judged_at) "
        "select 'planted', 'raw', 'T', 'C' || seq4(), 'stop', false, sysdate() "
        "from table(generator(rowcount => 100000))"
    )
    try:
        sql(pipeline, row.format("file", "store_sales"), row.format("partition", names.TOPIC), check)
        real = {name: {} for name in CALM if not name.endswith("_runs")}
        found = look(**real)
    finally:
        sql(
            pipeline,
            "delete from MONITORING.LOAD_AUDIT where load_id = 'planted'",
            "delete from MONITORING.VALIDATION_RESULTS where run_id = 'planted'",
        )
    for name in ("quarantine", "dead_letters", "validations"):
        assert found[f"errors {name}"]["status"] == "fail", found[f"errors {name}"]
        assert found[f"burn errors_{name}"]["status"] == "fail"


def test_failed_runs_are_found(pipeline, loaded):
    from prefect import flow, task

    @task
    def breaks() -> None:
        raise ValueError("on purpose")

    @flow(name="breaks-on-purpose")
    def broken() -> None:
        breaks()

    with pytest.raises(ValueError, match="on purpose"):
        broken()
    few = {"warn": 0.00001, "fail": 0.0001, "at_least": 1}
    found = look(errors__flow_runs=few, errors__task_runs=few)
    assert {found[f"errors {name}"]["status"] for name in ("flow_runs", "task_runs")} == {"fail"}
