import json

import pytest
from pydantic import SecretStr

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT, Settings, embedded_settings_file, load_settings
from cli.settings import env_example


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SALES_{name.upper()}", raising=False)


def test_environment_wins_over_env_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("SALES_SNOWFLAKE_ACCOUNT=from-file\nSALES_SNOWFLAKE_ROLE=FILE_ROLE\n")
    monkeypatch.setenv("SALES_SNOWFLAKE_ACCOUNT", "from-environment")
    settings = load_settings(tmp_path)
    assert (settings.snowflake_account, settings.snowflake_role) == ("from-environment", "FILE_ROLE")


def test_running_stack_is_taken_whole_and_never_mixed(tmp_path, monkeypatch):
    monkeypatch.setenv("SALES_SNOWFLAKE_ACCOUNT", "production")
    embedded = {"environment": "embedded", "snowflake_account": "embedded"}
    embedded_settings_file(tmp_path).write_text(json.dumps(embedded))
    assert load_settings(tmp_path).snowflake_account == "embedded"
    monkeypatch.setenv("SALES_ENVIRONMENT", "prod")
    assert load_settings(tmp_path).snowflake_account == "production"


def test_secrets_are_masked():
    settings = Settings(snowflake_password=SecretStr("hunter2"), alerts_webhook_url=SecretStr("https://hook"))
    assert "hunter2" not in repr(settings)
    assert "https://hook" not in settings.model_dump_json()


def test_an_unusable_value_is_named_but_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("SALES_DATABRICKS_POLL_SECONDS", "soon-hunter2")
    with pytest.raises(WillNotHeal, match="SALES_DATABRICKS_POLL_SECONDS") as caught:
        load_settings(tmp_path)
    assert "hunter2" not in str(caught.value)


def test_env_example_is_what_the_settings_say():
    """Renew it with `sales settings > .env.example`."""
    assert (PROJECT / ".env.example").read_text() == env_example()
