"""environments/*.env: one per environment, the same keys in each, none of them secret; and which file is read when."""

import json

import pytest

from blocks.errors import WillNotHeal
from blocks.settings import (
    PROJECT,
    Settings,
    embedded_settings_file,
    environment_file,
    environment_names,
    is_secret,
    load_settings,
)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SALES_{name.upper()}", raising=False)


def keys(name: str) -> list[str]:
    lines = environment_file(name).read_text().splitlines()
    return [line.partition("=")[0] for line in lines if line and not line.startswith("#")]


def test_there_are_three_environments():
    assert environment_names() == ["dev", "prod", "staging"]


@pytest.mark.parametrize("name", environment_names())
def test_a_file_has_known_keys_once_and_no_secret(name):
    found = keys(name)
    fields = [key.removeprefix("SALES_").lower() for key in found]
    assert len(set(found)) == len(found)
    assert set(fields) <= set(Settings.model_fields)
    assert [field for field in fields if is_secret(field)] == []
    assert "environment" in fields


def test_all_files_have_the_same_keys_in_the_same_order():
    assert keys("dev") == keys("staging") == keys("prod")


@pytest.mark.parametrize("name", environment_names())
def test_a_file_makes_settings_of_its_name(name, tmp_path):
    settings = load_settings(tmp_path, name)
    assert settings.environment == name
    assert name in settings.kafka_connect_private_key_reference
    assert settings.work_pool == f"sales-{name}"


def test_no_two_environments_share_warehouse_database_or_pool(tmp_path):
    every = [load_settings(tmp_path, name) for name in environment_names()]
    for field in ("snowflake_database", "snowflake_warehouse", "snowflake_role", "work_pool"):
        assert len({getattr(settings, field) for settings in every}) == 3


def test_the_file_wins_over_dot_env_and_the_process_over_both(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text(
        "SALES_SNOWFLAKE_DATABASE=MINE\nSALES_SNOWFLAKE_PASSWORD=hunter2\nSALES_ENVIRONMENT=dev\n"
    )
    monkeypatch.setenv("SALES_SNOWFLAKE_ROLE", "FROM_PROCESS")
    settings = load_settings(tmp_path, "prod")
    assert (settings.environment, settings.snowflake_database) == ("prod", "SALES_DW")
    assert settings.snowflake_role == "FROM_PROCESS"
    assert settings.snowflake_password.get_secret_value() == "hunter2"


def test_sales_environment_chooses_the_file_as_the_option_does(tmp_path, monkeypatch):
    monkeypatch.setenv("SALES_ENVIRONMENT", "staging")
    assert load_settings(tmp_path) == load_settings(tmp_path, "staging")
    assert load_settings(tmp_path).snowflake_database == "SALES_DW_STAGING"


def test_a_running_stack_serves_as_dev_and_never_as_prod(tmp_path, monkeypatch):
    embedded_settings_file(tmp_path).write_text(json.dumps({"environment": "embedded"}))
    assert load_settings(tmp_path, "dev").environment == "embedded"
    assert load_settings(tmp_path, "prod").environment == "prod"
    monkeypatch.setenv("SALES_ENVIRONMENT", "dev")
    assert load_settings(tmp_path, "dev").environment == "dev"


def test_an_unknown_environment_is_named_with_those_there_are(tmp_path):
    with pytest.raises(WillNotHeal, match="no environment 'production'; there are dev, prod, staging"):
        load_settings(tmp_path, "production")


def test_what_is_given_wins_over_everything(tmp_path, monkeypatch):
    monkeypatch.setenv("SALES_RAW_URL", "s3://old")
    assert load_settings(tmp_path, "prod", {"raw_url": "s3://new"}).raw_url == "s3://new"


def test_a_file_of_an_environment_is_not_ignored_by_git():
    patterns = (PROJECT / ".gitignore").read_text().splitlines()
    assert "*.env" not in patterns
    assert "environments/" not in patterns
