"""From a dev environment's outputs to a processed file: blocks as registered, buckets as Terraform made them."""

import asyncio
import logging
from dataclasses import asdict

import boto3
import pytest
from prefect_aws import S3Bucket
from typer.testing import CliRunner

from blocks import names
from blocks.feeds import job_spec, load_contract, load_feed
from blocks.storage import list_files, uri
from tasks.databricks import batch_id_of, read_metrics, run_to_the_end, stage_job, submission_for
from tasks.landing import land
from tasks.warehouse import LoadResult, load_batch
from tests.contract.conftest import serve_warehouse, start_service  # noqa: F401  (fixtures)

ACCOUNT = "123456789012"
LINES = (
    "order_id,line_number,product_id,product_name,product_category,customer_id,customer_segment,country,"
    "quantity,unit_price,currency,ordered_at,updated_at\n"
    "A1,1,P1,Lamp,Home,C1,consumer,Spain,2,9.99,EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z\n"
    "A1,2,P1,Lamp,Home,C1,consumer,Spain,0,9.99,EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z\n"
)
SECRETS = {
    "snowflake_private_key": "p",
    "databricks_client_secret": "s",
    "alerts_webhook_url": "http://127.0.0.1/x",
}
TOKEN = "dapi-for-tests"


@pytest.fixture(scope="module")
def operator(dev):
    """The environment of whoever operates dev, with the secrets put on their shelves."""
    given = {
        "AWS_ENDPOINT_URL": dev.moto,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "SALES_ENVIRONMENT": "dev",  # the real one, though the tests' embedded stack may be up
        "SALES_AWS_ENDPOINT_URL": dev.moto,
        "SALES_AWS_ACCESS_KEY_ID": "testing",
        "SALES_AWS_SECRET_ACCESS_KEY": "testing",
        "SALES_SNOWFLAKE_ACCOUNT": "acme-eu",
        "SALES_DATABRICKS_HOST": "dbc-1.cloud.databricks.com",
        "SALES_DATABRICKS_CLIENT_ID": "c",
        "SALES_KAFKA_CONNECT_URL": "http://127.0.0.1:8083",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        shelves = boto3.client("secretsmanager")
        for name, arn in dev.outputs["secret_ids"]["value"].items():
            shelves.put_secret_value(SecretId=arn, SecretString=SECRETS[name])
        yield


@pytest.fixture(scope="module")
def blocks(dev, operator):
    """Every block, as `sales blocks register --env dev --from-terraform <dev/aws>` makes them."""
    from blocks.register import blocks_from
    from cli.blocks import settings_from

    return blocks_from(settings_from("dev", [dev.root.folder]))


def test_blocks_come_from_terraforms_outputs(blocks):
    buckets = {
        name: blocks[name].bucket_name
        for name in (names.DROP_STORAGE, names.RAW_STORAGE, names.PROCESSED_STORAGE)
    }
    assert buckets == {
        f"sales-{name}": f"sales-dev-{name}-{ACCOUNT}" for name in ("drop", "raw", "processed")
    }
    assert all(isinstance(blocks[name], S3Bucket) for name in buckets)
    assert blocks[names.KAFKA].sasl_mechanism == "AWS_MSK_IAM"
    assert blocks[names.KAFKA].bootstrap_servers.count(":9098") == 3
    arn = f"arn:aws:iam::{ACCOUNT}:instance-profile/sales-dev-databricks"
    assert blocks[names.DATABRICKS_CLUSTER].instance_profile_arn == arn
    assert blocks[names.ALERTS].secrets.get_secret_value() == {"webhook": SECRETS["alerts_webhook_url"]}


def test_the_command_shows_them_without_their_secrets(dev, operator):
    from cli.app import app

    answer = CliRunner().invoke(
        app, ["blocks", "show", "--env", "dev", "--from-terraform", str(dev.root.folder)]
    )
    assert answer.exit_code == 0, answer.output
    assert f"sales-dev-raw-{ACCOUNT}" in answer.output
    assert SECRETS["alerts_webhook_url"] not in answer.output


def test_a_file_in_the_drop_goes_to_the_warehouse(blocks, start_service, serve_warehouse, tmp_path):  # noqa: F811
    drop, raw, processed = (
        blocks[name] for name in (names.DROP_STORAGE, names.RAW_STORAGE, names.PROCESSED_STORAGE)
    )
    # As a shop would: encrypted by the bucket, nothing asked of whoever puts it.
    boto3.client("s3").put_object(Bucket=drop.bucket_name, Key="store_sales/day.csv", Body=LINES.encode())
    warehouse, feed = serve_warehouse(f"{uri(processed)}/"), load_feed("store_sales")
    (file,) = land(drop, raw, warehouse, feed, settle_seconds=0).pending
    assert list(list_files(drop, "store_sales")) == []
    batch_id = batch_id_of(feed.name, [file])
    inputs = [{"uri": uri(raw, file.path), **asdict(file)}]
    spec = job_spec(feed, load_contract(), batch_id, inputs, uri(processed, f"sales_batch/{batch_id}"))
    code, order = stage_job(processed, batch_id, spec)
    databricks = _databricks(start_service, tmp_path)
    # The stand-in has no IAM: the instance profile stays with the real workspace.
    cluster = blocks[names.DATABRICKS_CLUSTER].model_copy(
        update={"poll_seconds": 0.5, "timeout_seconds": 120}
    )
    submission = submission_for(batch_id, code, order, cluster, batch_bytes=file.size)
    asyncio.run(run_to_the_end(databricks, cluster, submission, logging.getLogger("test")))
    assert load_batch(warehouse, feed.name, read_metrics(processed, batch_id)) == LoadResult(1, 1)
    rows = warehouse.rows("select order_id, line_number, quantity from RAW.SALES_BATCH_RAW")
    assert [tuple(row.values()) for row in rows] == [("A1", 1, 2)]


def _databricks(start_service, tmp_path):  # noqa: F811
    from prefect_databricks import DatabricksCredentials

    (tmp_path / "token").write_text(TOKEN)
    service = start_service("databricks", "--token-file", str(tmp_path / "token"))
    return DatabricksCredentials(
        databricks_instance=f"127.0.0.1:{service.facts['port']}",
        token=TOKEN,
        client_kwargs={"verify": service.facts["ca"]},
    )
