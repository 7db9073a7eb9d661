"""Secrets from Secrets Manager, read by the real client from a server that speaks its protocol."""

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from blocks.errors import WillNotHeal
from blocks.register import missing_settings
from blocks.secret_lookup import with_secrets
from blocks.settings import Settings


@pytest.fixture(scope="module")
def aws():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    address = f"http://{host}:{port}"
    client = boto3.client("secretsmanager", region_name="eu-west-1", endpoint_url=address, **access)
    client.create_secret(Name="sales/test/password", SecretString="hunter2")
    yield {"aws_endpoint_url": address, **access}
    server.stop()


def test_what_is_not_set_is_fetched_and_what_is_set_is_kept(aws):
    where = {"snowflake_password": "sales/test/password", "kafka_password": "sales/test/nowhere"}
    settings = with_secrets(Settings(**aws, secret_ids=where, kafka_password=SecretStr("own")))
    assert settings.snowflake_password.get_secret_value() == "hunter2"
    assert settings.kafka_password.get_secret_value() == "own"
    assert "hunter2" not in repr(settings)
    assert not [name for name in missing_settings(settings) if "SNOWFLAKE_PASSWORD" in name]


def test_a_secret_that_cannot_be_read_is_named(aws):
    settings = Settings(**aws, secret_ids={"kafka_password": "sales/test/nowhere"})
    with pytest.raises(WillNotHeal, match="sales/test/nowhere for SALES_KAFKA_PASSWORD cannot be read"):
        with_secrets(settings)


def test_only_secret_settings_can_be_looked_up():
    with pytest.raises(WillNotHeal, match="SALES_SECRET_IDS: snowflake_role, typo unknown"):
        with_secrets(Settings(secret_ids={"snowflake_role": "a", "typo": "b"}))
