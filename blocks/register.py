"""Writing the blocks: settings in, every block of the pipeline out, by the names that flows know."""

from collections.abc import Iterator
from typing import Any, Literal

from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect_aws import AwsCredentials
from prefect_aws.client_parameters import AwsClientParameters
from prefect_databricks import DatabricksCredentials
from prefect_snowflake import SnowflakeCredentials
from pydantic import SecretBytes, ValidationError

from blocks import names
from blocks.databricks import DatabricksCluster
from blocks.errors import WillNotHeal
from blocks.kafka import IAM, KafkaCluster
from blocks.kafka_connect import KafkaConnect
from blocks.monitoring import MetricsTarget
from blocks.settings import Settings
from blocks.storage import STORAGE_TYPES, storage_for
from blocks.warehouse import SalesWarehouse

REQUIRED = (
    "snowflake_account",
    "databricks_host",
    "drop_url",
    "raw_url",
    "processed_url",
    "kafka_bootstrap_servers",
    "alerts_webhook_url",
)
CONNECT_SETTINGS = "SALES_KAFKA_CONNECT_URL (or SALES_KAFKA_CONNECT_MSK_CONNECTOR_ARN)"


def blocks_from(settings: Settings) -> dict[str, Block]:
    """Make every block the flows load, by its name. Raises WillNotHeal naming the settings that are missing."""
    if missing := missing_settings(settings):
        raise WillNotHeal(f"Set these in the environment or .env, then run this again: {', '.join(missing)}")
    aws = _aws(settings)
    return {
        names.AWS: aws,
        names.WAREHOUSE: warehouse_from(settings),
        names.DATABRICKS: _databricks(settings),
        names.DATABRICKS_CLUSTER: cluster_from(settings),
        names.DROP_STORAGE: storage_for(settings.drop_url, aws),
        names.RAW_STORAGE: storage_for(settings.raw_url, aws),
        names.PROCESSED_STORAGE: storage_for(settings.processed_url, aws),
        names.RESULT_STORAGE: storage_for(f"{settings.processed_url.rstrip('/')}/_results", aws),
        names.KAFKA: kafka_from(settings),
        names.KAFKA_CONNECT: kafka_connect_from(settings, aws),
        names.ALERTS: _alerts(settings),
        names.METRICS: MetricsTarget(
            environment=settings.environment,
            cloudwatch_namespace=settings.cloudwatch_namespace,
            file=settings.metrics_file,
            aws=aws,
        ),
    }


def missing_settings(settings: Settings) -> list[str]:
    """List the variables without which no block can be made, and those by which Snowflake lets us in."""
    missing = [f"SALES_{name.upper()}" for name in REQUIRED if not getattr(settings, name)]
    if not (settings.kafka_connect_url or settings.kafka_connect_msk_connector_arn):
        missing.append(CONNECT_SETTINGS)
    if not (settings.snowflake_private_key or settings.snowflake_password):
        missing.append("SALES_SNOWFLAKE_PRIVATE_KEY (or SALES_SNOWFLAKE_PASSWORD)")
    return missing


def register(settings: Settings) -> Iterator[str]:
    """Write every block that differs from what is there; yield each name once it is written."""
    for name, block in blocks_from(settings).items():
        if registered(name, block) != "unchanged":
            block.save(name, overwrite=True)
            _forget_other_kinds(name, block)
            yield name


def registered(name: str, block: Block) -> Literal["create", "update", "unchanged"]:
    """Say what writing this block would do to the server's; secrets are compared, never shown."""
    try:
        known = type(block).load(name)
    except ValidationError:
        return "update"  # written by another version of its class
    except ValueError:
        return "create"
    assert isinstance(known, Block)
    return "unchanged" if _content(known) == _content(block) else "update"


def _content(block: Block) -> dict[str, Any]:
    """Give a block's fields, secrets in clear; without what only a block that was read from a server has."""
    fields: dict[str, Any] = _own(block.model_dump(mode="json", context={"include_secrets": True}))
    return fields


def _own(value: Any) -> Any:
    """Leave out what begins with an underscore, in blocks within blocks too: ids and names of documents."""
    if isinstance(value, list):
        return [_own(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {name: _own(inner) for name, inner in value.items() if not str(name).startswith("_")}


def warehouse_from(settings: Settings) -> SalesWarehouse:
    """Make the warehouse block: a key pair where there is one, else the password."""
    key, password = settings.snowflake_private_key, settings.snowflake_password
    how: dict[str, Any] = {}
    if key:
        how = {"private_key": SecretBytes(key.get_secret_value().encode()), "authenticator": "snowflake_jwt"}
        how["private_key_passphrase"] = settings.snowflake_private_key_passphrase
    elif password:
        how = {"password": password}
    else:
        raise WillNotHeal("Set SALES_SNOWFLAKE_PRIVATE_KEY (or SALES_SNOWFLAKE_PASSWORD): no way to sign in.")
    credentials = SnowflakeCredentials(
        account=settings.snowflake_account, user=settings.snowflake_user, role=settings.snowflake_role, **how
    )
    return SalesWarehouse(
        credentials=credentials,
        database=settings.snowflake_database,
        warehouse=settings.snowflake_warehouse,
        schema="RAW",
        server_url=settings.snowflake_endpoint,
    )


def kafka_from(settings: Settings) -> KafkaCluster:
    """Make the Kafka block; with the AWS identity where that is what signs in."""
    return KafkaCluster(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password,
        topic_partitions=settings.kafka_topic_partitions,
        ca_file=settings.kafka_ca_file,
        aws=_aws(settings) if settings.kafka_sasl_mechanism == IAM else None,
    )


def kafka_connect_from(settings: Settings, aws: AwsCredentials | None = None) -> KafkaConnect:
    """Make the Kafka Connect block: of its REST API, or of the connector on MSK Connect where one is named.

    Raises WillNotHeal if neither is set.
    """
    if not (settings.kafka_connect_url or settings.kafka_connect_msk_connector_arn):
        raise WillNotHeal(f"No Kafka Connect is configured. Set {CONNECT_SETTINGS}.")
    return KafkaConnect(
        url=settings.kafka_connect_url,
        username=settings.kafka_connect_username,
        password=settings.kafka_connect_password,
        msk_connector_arn=settings.kafka_connect_msk_connector_arn,
        aws=(aws or _aws(settings)) if settings.kafka_connect_msk_connector_arn else None,
    )


def _aws(settings: Settings) -> AwsCredentials:
    return AwsCredentials(
        region_name=settings.aws_region,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        aws_client_parameters=AwsClientParameters(endpoint_url=settings.aws_endpoint_url),
    )


def _databricks(settings: Settings) -> DatabricksCredentials:
    return DatabricksCredentials(
        databricks_instance=settings.databricks_host,
        token=settings.databricks_token,
        client_id=settings.databricks_client_id,
        client_secret=settings.databricks_client_secret,
        client_kwargs={"verify": settings.databricks_ca_file} if settings.databricks_ca_file else None,
    )


def cluster_from(settings: Settings) -> DatabricksCluster:
    """Make the cluster block, every run tagged with its environment. Raises WillNotHeal for wrong fields."""
    tags = {"pipeline": "sales", "environment": settings.environment}
    fields = {
        "poll_seconds": settings.databricks_poll_seconds,
        "custom_tags": tags,
    } | settings.databricks_cluster
    if unknown := sorted(set(fields) - set(DatabricksCluster.model_fields)):
        allowed = ", ".join(sorted(DatabricksCluster.model_fields))
        raise WillNotHeal(f"SALES_DATABRICKS_CLUSTER: {', '.join(unknown)} unknown; allowed are {allowed}.")
    try:
        return DatabricksCluster(**fields)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'fields'}: {e['msg']}" for e in error.errors())
        raise WillNotHeal(f"SALES_DATABRICKS_CLUSTER: {faults}") from None


def _alerts(settings: Settings) -> CustomWebhookNotificationBlock:
    # Prefect masks a block's `secrets` but not its `url`, and whoever knows a webhook's URL may post to it.
    assert settings.alerts_webhook_url
    return CustomWebhookNotificationBlock(
        name=names.ALERTS,
        url="{{webhook}}",
        secrets={"webhook": settings.alerts_webhook_url.get_secret_value()},
        json_data={"text": "*{{subject}}*\n{{body}}"},
    )


def _forget_other_kinds(name: str, block: Block) -> None:
    """Delete a storage block of another kind under the same name, left by an earlier registration."""
    for kind in STORAGE_TYPES:
        if isinstance(block, STORAGE_TYPES) and not isinstance(block, kind):
            try:
                kind.delete(f"{kind.get_block_type_slug()}/{name}")
            except ValueError:
                continue
