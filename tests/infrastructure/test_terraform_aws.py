"""The AWS module: applied to an empty account, planned again, planted with mistakes, and held to least privilege."""

import json

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from tests.infrastructure.iam_policies import is_allowed

ACCOUNT = "123456789012"
BUCKET = f"arn:aws:s3:::sales-dev-{{}}-{ACCOUNT}"
FILE = BUCKET + "/{}"
EVENTS = f"arn:aws:kafka:eu-west-1:{ACCOUNT}:topic/sales-dev/u-1/sales_events"
CONNECTOR = f"arn:aws:kafkaconnect:eu-west-1:{ACCOUNT}:connector/sales-dev-snowflake-sink/u-1"
PARQUET = "sales_batch/0a1b/valid/part-0.parquet"
# What each role is for, and what whoever has its credentials must not be able to do.
MAY = [
    ("pipeline", "s3:PutObject", FILE.format("raw", "store_sales/ab/sales.csv")),
    ("pipeline", "s3:DeleteObject", FILE.format("drop", "store_sales/sales.csv")),
    ("pipeline", "s3:PutObject", FILE.format("drop", "refused/store_sales/sales.csv")),
    ("pipeline", "s3:PutObject", FILE.format("processed", "jobs/sales_batch-12.py")),
    ("pipeline", "s3:PutObject", FILE.format("processed", "sales_batch/0a1b/spec.json")),
    ("pipeline", "s3:GetObject", FILE.format("processed", "sales_batch/0a1b/_metrics.json")),
    ("databricks", "s3:GetObject", FILE.format("raw", "store_sales/ab/sales.csv")),
    ("databricks", "s3:GetObject", FILE.format("processed", "jobs/sales_batch-12.py")),
    ("databricks", "s3:PutObject", FILE.format("processed", PARQUET)),
    ("databricks", "s3:DeleteObject", FILE.format("processed", PARQUET)),
    ("snowflake", "s3:GetObject", FILE.format("processed", PARQUET)),
    ("snowflake", "s3:ListBucket", BUCKET.format("processed")),
    (
        "connect",
        "kafka-cluster:ReadData",
        EVENTS,
    ),
    (
        "connect",
        "kafka-cluster:WriteData",
        f"{EVENTS}_dlq",
    ),
]
MAY_NOT = [
    ("databricks", "s3:PutObject", FILE.format("raw", "store_sales/ab/sales.csv")),
    ("databricks", "s3:DeleteObject", FILE.format("raw", "store_sales/ab/sales.csv")),
    ("databricks", "s3:PutObject", FILE.format("processed", "jobs/sales_batch-12.py")),
    ("databricks", "s3:GetObject", FILE.format("drop", "store_sales/sales.csv")),
    ("databricks", "secretsmanager:GetSecretValue", "*"),
    ("pipeline", "s3:DeleteObject", FILE.format("raw", "store_sales/ab/sales.csv")),
    ("pipeline", "s3:DeleteObject", FILE.format("processed", PARQUET)),
    ("pipeline", "s3:PutObject", FILE.format("processed", PARQUET)),
    ("pipeline", "s3:PutObject", FILE.format("logs", "trail/x")),
    ("pipeline", "s3:GetObject", FILE.format("logs", "trail/x")),
    ("pipeline", "s3:DeleteObjectVersion", FILE.format("drop", "store_sales/sales.csv")),
    (
        "pipeline",
        "kafkaconnect:DeleteConnector",
        CONNECTOR,
    ),
    (
        "pipeline",
        "kafka-cluster:DeleteTopic",
        EVENTS,
    ),
    ("snowflake", "s3:GetObject", FILE.format("processed", "jobs/sales_batch-12.py")),
    ("snowflake", "s3:GetObject", FILE.format("raw", "store_sales/ab/sales.csv")),
    (
        "connect",
        "kafka-cluster:WriteData",
        EVENTS,
    ),
    ("connect", "s3:GetObject", FILE.format("raw", "store_sales/ab/sales.csv")),
    *((role, "iam:PassRole", "*") for role in ("pipeline", "databricks", "snowflake", "connect")),
    *((role, "sts:AssumeRole", "*") for role in ("pipeline", "databricks", "snowflake", "connect")),
    *((role, "kms:ScheduleKeyDeletion", "*") for role in ("pipeline", "databricks", "snowflake", "connect")),
    *((role, "s3:PutBucketPolicy", BUCKET.format("raw")) for role in ("pipeline", "databricks", "snowflake")),
    *((role, "s3:DeleteBucket", BUCKET.format("raw")) for role in ("pipeline", "databricks", "snowflake")),
    # Snowflake's role reads; there is nothing at all that it writes or deletes.
    *(
        ("snowflake", action, FILE.format(bucket, key))
        for action in ("s3:PutObject", "s3:DeleteObject", "s3:PutObjectAcl", "s3:AbortMultipartUpload")
        for bucket in ("drop", "raw", "processed", "artifacts")
        for key in ("x", PARQUET)
    ),
]
MISTAKES = [
    ("storage.tf", "force_destroy", "force_destruction", "Unsupported argument"),
    ("kms.tf", "target_key_id = aws_kms_key.data.id", "", "Missing required argument"),
    ("secrets.tf", '"aws_secretsmanager_secret_policy"', '"aws_secret_policy"', "Invalid resource type"),
]


def policies(dev, role):
    address = f'module.aws.aws_iam_role_policy.this["{role}"]'
    return [json.loads(dev.resources("aws_iam_role_policy")[address]["policy"])]


def test_a_second_plan_is_empty(dev):
    dev.root.run("plan", "-detailed-exitcode", codes=(0,))


def test_the_state_lies_in_s3_and_no_lock_is_left(dev):
    s3 = client(dev.moto, "s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="tfstate")["Contents"]]
    assert keys == ["sales/dev/aws.tfstate"]


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_the_other_environments_are_valid(environment, aws_root):
    assert "Success!" in aws_root(environment).run("validate").stdout


@pytest.mark.parametrize(("name", "right", "wrong", "message"), MISTAKES)
def test_planted_mistakes_are_found(name, right, wrong, message, aws_root):
    root = aws_root("dev")
    module = root.folder.parents[2] / "modules" / "aws" / name
    text = module.read_text()
    assert right in text
    module.write_text(text.replace(right, wrong, 1))
    assert message in root.run("validate", codes=(1,)).stderr


def test_flags(terraform, aws_mirror, copy_code):
    from tests.infrastructure.conftest import Root

    root = Root(copy_code() / "modules" / "aws", terraform)
    root.run("init", f"-plugin-dir={aws_mirror}")
    assert " 0 failed" in root.run("test").stdout


@pytest.mark.parametrize(("role", "action", "resource"), MAY)
def test_a_role_can_do_its_work(role, action, resource, dev):
    assert is_allowed(policies(dev, role), action, resource)


def test_a_role_cannot_do_what_it_should_not(dev):
    assert len(MAY_NOT) > 50
    allowed = [each for each in MAY_NOT if is_allowed(policies(dev, each[0]), each[1], each[2])]
    assert allowed == []


def test_each_secret_is_closed_to_the_other_reader(dev):
    read = "secretsmanager:GetSecretValue"
    for name, arn in dev.outputs["secret_ids"]["value"].items():
        assert is_allowed(policies(dev, "pipeline"), read, arn), name
        assert not is_allowed(policies(dev, "connect"), read, arn), name
    secrets = dev.resources("aws_secretsmanager_secret")
    sink = secrets['module.aws.aws_secretsmanager_secret.this["snowflake_sink"]']["arn"]
    assert is_allowed(policies(dev, "connect"), read, sink)
    assert not is_allowed(policies(dev, "pipeline"), read, sink)


def test_roles_are_taken_by_those_who_are_named(dev):
    """Other accounts show an external id; services act for this account."""
    roles = dev.resources("aws_iam_role")
    assert len(roles) == 6
    for address, role in roles.items():
        (statement,) = json.loads(role["assume_role_policy"])["Statement"]
        keys = {key for condition in statement.get("Condition", {}).values() for key in condition}
        if "AWS" in statement["Principal"]:
            assert keys == {"sts:ExternalId"}, address
            assert "*" not in statement["Principal"]["AWS"]
        elif statement["Principal"]["Service"] != "ec2.amazonaws.com":
            assert keys == {"aws:SourceAccount"}, address


def test_buckets_refuse_what_a_role_may_not_do_by_s3_itself(dev):
    """With moto judging each request by the role's policies: the Databricks role reads raw, and writes it not."""
    raw, processed = f"sales-dev-raw-{ACCOUNT}", f"sales-dev-processed-{ACCOUNT}"
    client(dev.moto, "s3").put_object(Bucket=raw, Key="store_sales/a.csv", Body=b"1")
    keys = credentials(dev.moto, "databricks")
    with judged(dev.moto):
        s3 = client(dev.moto, "s3", **keys)
        assert s3.get_object(Bucket=raw, Key="store_sales/a.csv")["Body"].read() == b"1"
        s3.put_object(Bucket=processed, Key=PARQUET, Body=b"1")
        for refused in (
            lambda: s3.put_object(Bucket=raw, Key="store_sales/b.csv", Body=b"2"),
            lambda: s3.delete_object(Bucket=raw, Key="store_sales/a.csv"),
            lambda: s3.put_object(Bucket=processed, Key="jobs/sales_batch.py", Body=b"2"),
            lambda: s3.delete_bucket(Bucket=raw),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                refused()


class judged:
    """Inside, moto judges requests by IAM."""

    def __init__(self, moto):
        self.moto = moto

    def __enter__(self):
        httpx.post(f"{self.moto}/moto-api/reset-auth", content="0").raise_for_status()

    def __exit__(self, *_):
        httpx.post(f"{self.moto}/moto-api/reset-auth", content="1e12").raise_for_status()


def credentials(moto, role):
    taken = client(moto, "sts").assume_role(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/sales-dev-{role}", RoleSessionName="test"
    )["Credentials"]
    return {
        "aws_access_key_id": taken["AccessKeyId"],
        "aws_secret_access_key": taken["SecretAccessKey"],
        "aws_session_token": taken["SessionToken"],
    }


def client(moto, service, **keys):
    given = keys or {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.client(service, endpoint_url=moto, region_name="eu-west-1", **given)


def test_the_connector_is_made_as_the_command_would_render_it(aws_root):
    """Terraform makes the sink and `sales connector apply` keeps it: both must fill the file in alike."""
    from tasks.connector_config import render_connector

    root = aws_root("prod", connector_plugin_key="plugins/snowflake.zip", snowflake_account="acme-eu")
    root.run("plan", "-out=plan")
    (module,) = root.json("show", "-json", "plan")["planned_values"]["root_module"]["child_modules"]
    (sink,) = [r["values"] for r in module["resources"] if r["type"] == "aws_mskconnect_connector"]
    settings = {
        "snowflake_account": "acme-eu",
        "snowflake_endpoint": None,
        "snowflake_user": "SALES_PIPELINE",
        "snowflake_role": "SALES_PIPELINE",
        "snowflake_database": "SALES_DW",
        "kafka_connect_snowflake_user": "SALES_SINK",
        "kafka_connect_snowflake_role": "SALES_SINK",
        "kafka_connect_private_key_reference": "${secretsmanager:sales/prod/snowflake-sink:private_key}",
    }
    assert sink["connector_configuration"] == render_connector(settings)
