"""Secrets that live in AWS Secrets Manager: fetched by the names in `SALES_SECRET_IDS`, never written anywhere."""

from typing import Any

from pydantic import SecretStr

from blocks.errors import WillNotHeal
from blocks.settings import Settings, is_secret


def with_secrets(settings: Settings) -> Settings:
    """Give the settings with every secret filled in that is named in `secret_ids` and not set otherwise.

    The secret's string is the value as it is. It is read with the AWS identity of the settings, else the
    machine's. Raises WillNotHeal for a name that is no secret setting, and for a secret that cannot be read.
    """
    if wrong := sorted(
        n for n in settings.secret_ids if n not in type(settings).model_fields or not is_secret(n)
    ):
        raise WillNotHeal(
            f"SALES_SECRET_IDS: {', '.join(wrong)} unknown; its keys are settings that are secret."
        )
    missing = {name: where for name, where in settings.secret_ids.items() if not getattr(settings, name)}
    if not missing:
        return settings
    client = _client(settings)
    return settings.model_copy(update={name: _read(client, name, where) for name, where in missing.items()})


def _client(settings: Settings) -> Any:
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    secret = settings.aws_secret_access_key
    return boto3.client(
        "secretsmanager",
        region_name=settings.aws_region,
        endpoint_url=settings.aws_endpoint_url,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 3, "mode": "standard"}),
    )


def _read(client: Any, name: str, where: str) -> SecretStr | str:
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        value: str = client.get_secret_value(SecretId=where)["SecretString"]
    except (BotoCoreError, ClientError, KeyError) as error:
        raise WillNotHeal(
            f"The secret {where} for SALES_{name.upper()} cannot be read from Secrets Manager: {error}"
        ) from None
    return value if name == "aws_access_key_id" else SecretStr(value)
