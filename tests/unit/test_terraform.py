"""What Terraform's outputs become, and what is refused."""

import json

import pytest

from blocks.errors import WillNotHeal
from blocks.settings import Settings
from blocks.terraform import CLUSTER_FIELDS, OTHER_NAMES, map_outputs, settings_from_terraform

OUTPUTS = {
    "raw_bucket": "sales-raw",
    "processed_url": "s3://sales-processed/parquet",
    "processed_bucket": "sales-processed",
    "databricks_host": "https://dbc-1.cloud.databricks.com/",
    "databricks_policy_id": "P1",
    "databricks_instance_profile_arn": "arn:aws:iam::1:instance-profile/spark",
    "msk_bootstrap_brokers_sasl_iam": "b-1:9098,b-2:9098",
    "snowflake_storage_integration": "SALES_S3",
    "secret_ids": {"snowflake_private_key": "arn:aws:secretsmanager:eu-west-1:1:secret:k"},
    "kms_key_arn": "arn:aws:kms:eu-west-1:1:key/1",
    "kafka_connect_url": None,
    "snowflake_account": "",
}


def test_outputs_become_settings_and_the_rest_is_left_out():
    assert map_outputs(OUTPUTS) == {
        "raw_url": "s3://sales-raw",
        "processed_url": "s3://sales-processed/parquet",
        "databricks_host": "dbc-1.cloud.databricks.com",
        "databricks_cluster": {
            "policy_id": "P1",
            "instance_profile_arn": "arn:aws:iam::1:instance-profile/spark",
        },
        "kafka_bootstrap_servers": "b-1:9098,b-2:9098",
        "kafka_sasl_mechanism": "AWS_MSK_IAM",
        "snowflake_stage_options": "STORAGE_INTEGRATION = SALES_S3",
        "secret_ids": {"snowflake_private_key": "arn:aws:secretsmanager:eu-west-1:1:secret:k"},
    }
    Settings(**map_outputs(OUTPUTS))


def test_every_setting_that_is_mapped_is_one():
    assert {field for fields in OTHER_NAMES.values() for field in fields} <= set(Settings.model_fields)
    assert set(OTHER_NAMES) & set(Settings.model_fields) == set()
    assert set(CLUSTER_FIELDS.values()) == {"policy_id", "instance_profile_arn"}


def test_a_secret_among_the_outputs_is_refused_and_not_shown():
    with pytest.raises(WillNotHeal, match="hold the secrets databricks_token") as caught:
        map_outputs({"databricks_token": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_several_sources_are_read_the_later_winning(tmp_path):
    for name, values in (("aws", {"raw_bucket": "a", "aws_region": "eu-west-1"}), ("b", {"raw_bucket": "b"})):
        outputs = {
            key: {"sensitive": False, "type": "string", "value": value} for key, value in values.items()
        }
        (tmp_path / name).write_text(json.dumps(outputs))
    assert settings_from_terraform([tmp_path / "aws", tmp_path / "b"]) == {
        "raw_url": "s3://b",
        "aws_region": "eu-west-1",
    }


@pytest.mark.parametrize("text", ["", "[1]", '{"raw_bucket": "a"}', "No outputs found"])
def test_what_is_no_output_is_refused_by_name(tmp_path, text):
    (tmp_path / "saved.json").write_text(text)
    with pytest.raises(WillNotHeal, match=r"saved.json gives no `terraform output -json`"):
        settings_from_terraform([tmp_path / "saved.json"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WillNotHeal, match=r"absent.json: No such file"):
        settings_from_terraform([tmp_path / "absent.json"])


def test_without_terraform_a_file_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WillNotHeal, match="terraform is not installed here; give a file"):
        settings_from_terraform([tmp_path])
