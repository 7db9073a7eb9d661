"""What can be told of terraform/ by reading it: environments alike, state locked, no secret in an output."""

import re
from pathlib import Path

import pytest

from blocks.settings import PROJECT, Settings, is_secret
from blocks.terraform import CLUSTER_FIELDS, OTHER_NAMES

TERRAFORM = PROJECT / "terraform"
ENVIRONMENTS = ("dev", "staging", "prod")
PROVIDERS = ("aws", "snowflake", "databricks", "prefect")
ROOTS = [(environment, provider) for environment in ENVIRONMENTS for provider in PROVIDERS]
# What one root gives to another; nothing of it is a setting.
BETWEEN_ROOTS = {
    *("artifacts_bucket", "snowflake_role_arn", "pipeline_role_arn", "sink_addresses", "snowflake_trust"),
    "webhook_url",
}


def folder(environment: str, provider: str) -> Path:
    return TERRAFORM / "environments" / environment / provider


def outputs(environment: str, provider: str) -> set[str]:
    return set(
        re.findall(r'^output "(\w+)"', (folder(environment, provider) / "outputs.tf").read_text(), re.M)
    )


@pytest.mark.parametrize(("environment", "provider"), ROOTS)
def test_an_environment_is_thin(environment, provider):
    found = {
        kind
        for file in folder(environment, provider).glob("*.tf")
        for kind in re.findall(r"^(\w+)", file.read_text(), re.M)
    }
    assert found <= {"terraform", "provider", "module", "variable", "output", "locals"}


@pytest.mark.parametrize(("environment", "provider"), ROOTS)
def test_state_is_remote_locked_and_its_own(environment, provider):
    text = (folder(environment, provider) / "main.tf").read_text()
    assert re.search(rf'backend "s3" {{[^}}]*key += "sales/{environment}/{provider}.tfstate"', text)
    assert re.search(r"use_lockfile += true", text)
    assert re.search(r"encrypt += true", text)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_environments_have_the_same_outputs_and_variables(provider):
    assert outputs("dev", provider) == outputs("staging", provider) == outputs("prod", provider)
    texts = [(folder(environment, provider) / "variables.tf").read_text() for environment in ENVIRONMENTS]
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize(("environment", "provider"), ROOTS)
def test_outputs_fill_settings_and_hold_no_secret(environment, provider):
    given = outputs(environment, provider)
    known = set(Settings.model_fields) | set(OTHER_NAMES) | set(CLUSTER_FIELDS)
    assert given - known <= BETWEEN_ROOTS
    assert [name for name in given if name in Settings.model_fields and is_secret(name)] == []


def test_what_blocks_need_comes_from_some_root():
    from blocks.register import REQUIRED

    given = set().union(*(outputs("prod", provider) for provider in PROVIDERS))
    filled = given | {field for name in given for field in OTHER_NAMES.get(name, ())}
    # The webhook is a secret: its shelf is in secret_ids.
    assert set(REQUIRED) - filled == {"alerts_webhook_url"}


def test_the_names_are_those_of_the_environments_files():
    """environments/<name>.env says by what names the pipeline signs in; Terraform must make just those."""
    for environment in ENVIRONMENTS:
        file = PROJECT / "environments" / f"{environment}.env"
        said = dict(line.split("=", 1) for line in file.read_text().splitlines() if line.startswith("SALES_"))
        suffix = "" if environment == "prod" else f"_{environment.upper()}"
        text = (folder(environment, "snowflake") / "main.tf").read_text()
        assert re.search(rf'suffix += "{suffix}"', text)
        assert said["SALES_SNOWFLAKE_USER"] == said["SALES_SNOWFLAKE_ROLE"] == f"SALES_PIPELINE{suffix}"
        assert said["SALES_SNOWFLAKE_WAREHOUSE"] == f"SALES_WH{suffix}"
        assert said["SALES_SNOWFLAKE_DATABASE"] == f"SALES_DW{suffix}"
        reference = f"${{secretsmanager:sales/{environment}/snowflake-sink:private_key}}"
        assert said["SALES_KAFKA_CONNECT_PRIVATE_KEY_REFERENCE"] == reference
        assert said["SALES_WORK_POOL"] == f"sales-{environment}"


def test_no_secret_is_written_down():
    for file in TERRAFORM.rglob("*.tf"):
        text = file.read_text()
        assert "PRIVATE KEY" not in text
        assert not re.search(r'"(AKIA[A-Z0-9]{16}|https://hooks\.slack\.com/[^"]+)"', text), file
        # A value in a resource is a value in the state.
        assert not re.search(r'resource "(aws_secretsmanager_secret_version|databricks_secret)"', text), file
