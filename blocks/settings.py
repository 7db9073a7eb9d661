"""The one typed door to configuration: environment (`SALES_…`) or `.env` → `Settings` → blocks → clients.

No other module reads the environment (dbt's profile excepted, which is given its values by the dbt task).
While an embedded stack is up, its addresses are a file, and `load_settings` takes them whole from there:
settings are never mixed from two places.
"""

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from blocks.errors import WillNotHeal

PROJECT = Path(__file__).resolve().parent.parent
EMBEDDED = "embedded"


class Settings(BaseSettings):
    """Everything that differs between environments. Production values are the defaults where one exists."""

    model_config = SettingsConfigDict(
        env_prefix="SALES_", env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    environment: str = Field("dev", description="Name of the environment: dev, staging, prod or embedded.")
    prefect_api_url: str | None = Field(
        None, description="Prefect API; unset leaves it to Prefect's own profile."
    )

    snowflake_account: str = Field(
        "", description="Snowflake account identifier, for example ab12345.eu-west-1."
    )
    snowflake_user: str = Field("SALES_PIPELINE", description="Service user the pipeline signs in as.")
    snowflake_private_key: SecretStr | None = Field(None, description="PEM private key of the service user.")
    snowflake_private_key_passphrase: SecretStr | None = Field(None, description="Passphrase of that key.")
    snowflake_password: SecretStr | None = Field(None, description="Password, where no key pair is used.")
    snowflake_role: str = Field("SALES_PIPELINE", description="Role the pipeline works with.")
    snowflake_warehouse: str = Field("SALES_WH", description="Virtual warehouse that pays for the queries.")
    snowflake_database: str = Field("SALES_DW", description="Database of all the pipeline's schemas.")
    snowflake_endpoint: str | None = Field(
        None, description="URL of a server that speaks Snowflake's protocol; unset means the account's own."
    )
    snowflake_stage_options: str = Field(
        "",
        description="Clause of the stage on processed storage, for example STORAGE_INTEGRATION = SALES_S3.",
    )

    databricks_host: str = Field("", description="Databricks workspace host, without https://.")
    databricks_token: SecretStr | None = Field(
        None, description="Personal access token, or use the next two."
    )
    databricks_client_id: str | None = Field(None, description="Service principal's client id.")
    databricks_client_secret: SecretStr | None = Field(None, description="Service principal's secret.")
    databricks_ca_file: str | None = Field(
        None, description="CA bundle, where the host's CA is a private one."
    )
    databricks_cluster: dict[str, Any] = Field(
        {}, description="Fields of the block sales-databricks-cluster that differ from its defaults, as JSON."
    )
    databricks_poll_seconds: float = Field(
        10, gt=0, description="Wait between two looks at a Databricks run."
    )

    drop_url: str = Field("", description="Where CSV files arrive: s3://bucket/prefix or file:///folder.")
    raw_url: str = Field("", description="Raw storage, to which files are landed.")
    processed_url: str = Field("", description="Processed storage: Spark's output, read by the warehouse.")

    kafka_bootstrap_servers: str = Field("", description="host:port,host:port of the Kafka cluster.")
    kafka_security_protocol: str = Field(
        "SASL_SSL", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "AWS_MSK_IAM"] | None = Field(
        "SCRAM-SHA-512", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or AWS_MSK_IAM, if SASL is used."
    )
    kafka_username: str | None = Field(None, description="SASL user.")
    kafka_password: SecretStr | None = Field(None, description="SASL password.")
    kafka_replication_factor: int = Field(3, ge=1, description="Replicas of a topic that is created.")
    kafka_topic_partitions: int = Field(4, ge=1, description="Partitions that the events' topic is to have.")
    kafka_connect_tasks_max: int = Field(
        3, ge=1, description="Tasks of the sink; more than partitions is idle."
    )
    kafka_connect_snowflake_version: Literal[3, 4] = Field(
        4, description="Major version of the Snowflake connector that is installed on Kafka Connect: 4 or 3."
    )
    kafka_connect_msk_connector_arn: str | None = Field(
        None, description="ARN of the sink where MSK Connect runs it; then there is no REST API to set."
    )
    kafka_connect_url: str = Field("", description="Kafka Connect's REST API.")
    kafka_connect_username: str | None = Field(None, description="User of that API, if it asks for one.")
    kafka_connect_password: SecretStr | None = Field(None, description="Password of that user.")
    kafka_connect_private_key_reference: str = Field(
        "${secretsmanager:sales/snowflake-sink:private_key}",
        description="Config-provider reference by which the sink finds its Snowflake key; never the key itself.",
    )
    kafka_connect_snowflake_user: str | None = Field(
        None, description="Snowflake user of the sink; unset means the pipeline's own."
    )
    kafka_connect_snowflake_role: str | None = Field(
        None, description="Snowflake role of the sink; unset means the pipeline's own."
    )
    kafka_ca_file: str | None = Field(
        None, description="CA bundle (PEM) of the brokers, where their CA is a private one."
    )

    sales_api_url: str = Field("", description="Base URL of the sales API that `sales produce --api` polls.")
    sales_api_token: SecretStr | None = Field(None, description="Bearer token of that API.")

    alerts_webhook_url: SecretStr | None = Field(None, description="Slack incoming webhook for alerts.")

    cloudwatch_namespace: str = Field(
        "", description="CloudWatch namespace of the pipeline's metrics; empty sends none."
    )
    metrics_file: str = Field(
        "", description="File in Prometheus's text format that monitor-pipeline renews; empty writes none."
    )
    runbooks_url: str = Field(
        "",
        description="Address of docs/runbooks as people read it, for example https://github.com/acme/sales/blob/main"
        "/docs/runbooks; unset means that alerts name the file.",
    )

    aws_region: str = Field("eu-west-1", description="AWS region of buckets and MSK.")
    aws_access_key_id: str | None = Field(None, description="Access key; unset uses the role of the machine.")
    aws_secret_access_key: SecretStr | None = Field(None, description="Secret of that access key.")
    aws_endpoint_url: str | None = Field(None, description="Endpoint of an S3-compatible server.")

    work_pool: str = Field("sales", description="Prefect work pool that runs the deployments.")
    work_pool_type: Literal["prefect:managed", "process"] = Field(
        "prefect:managed", description="Type of that pool, made by `sales deploy` where it is missing."
    )
    pull: Literal["clone_and_install", "clone", "folder"] = Field(
        "clone_and_install",
        description="How a run comes by the code: clone_and_install, clone (where the worker is set up) or folder.",
    )
    repository: str = Field(
        "", description="Git URL that runs clone; unset means the remote origin of this checkout."
    )
    schedules_active: bool = Field(True, description="Whether deployments run by their schedules.")
    secret_ids: dict[str, str] = Field(
        {},
        description="Secrets Manager's names or ARNs of secrets that are not set here, by setting, as JSON: "
        '{"snowflake_private_key": "sales/prod/snowflake"}.',
    )


class EmbeddedSettings(Settings):
    """The settings of an embedded stack: given whole by whoever starts it, never read from the environment.

    Otherwise the keys of a real environment in `.env` would find their way into the stack's blocks.
    """

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given to the constructor and nothing else."""
        return (init_settings,)


class _Chosen(BaseSettings):
    """Which environment is asked for, in the environment or in `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="SALES_", env_file=".env", env_ignore_empty=True, extra="ignore"
    )

    environment: str | None = None


class StackSettings(BaseSettings):
    """Where the embedded stack lives and which ports it takes (0: any free one)."""

    model_config = SettingsConfigDict(
        env_prefix="SALES_", env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    home: Path = Field(Path(".sales"), description="Folder of the embedded stack's state and logs.")
    build: Path = Field(Path("build"), description="Folder of summary.json and report.html.")
    snowflake_port: int = Field(0, ge=0, le=65535, description="Port of the embedded Snowflake.")
    databricks_port: int = Field(0, ge=0, le=65535, description="Port of the embedded Databricks.")
    connect_port: int = Field(0, ge=0, le=65535, description="Port of the embedded Kafka Connect.")
    sales_api_port: int = Field(0, ge=0, le=65535, description="Port of the embedded sales API.")
    slack_port: int = Field(0, ge=0, le=65535, description="Port of the Slack inbox.")
    prefect_port: int = Field(0, ge=0, le=65535, description="Port of the Prefect server and its UI.")
    start_timeout_seconds: int = Field(120, gt=0, description="How long a service may take to start.")


def load_settings(
    home: Path | None = None, name: str | None = None, values: dict[str, Any] | None = None
) -> Settings:
    """Read the settings: the embedded stack's while one is up under `home`, else the environment's.

    name: the environment that is asked for; without it `SALES_ENVIRONMENT` says. Its file in environments/ wins
        over `.env`, and the process's own variables over both. The running stack serves as dev, unless
        `SALES_ENVIRONMENT` says otherwise; any other name always means the environment.
    values: settings that win over all of these, such as Terraform's outputs.
    Raises WillNotHeal with the name of each value that cannot be used, or for an environment without a file.
    """
    home = (home or load_stack_settings().home).resolve()
    try:
        if name in (None, "dev", EMBEDDED) and is_embedded(home):
            return EmbeddedSettings(**json.loads(embedded_settings_file(home).read_text()))
        chosen = name or chosen_environment()
        if name and not environment_file(name).exists():
            raise WillNotHeal(
                f"There is no environment '{name}'; there are {', '.join(environment_names())}."
            )
        if chosen is None or chosen == EMBEDDED:
            return Settings(**(values or {}))
        files = (".env", environment_file(chosen))
        return Settings(_env_file=files, **{"environment": chosen} | (values or {}))
    except ValidationError as error:
        raise WillNotHeal(_explain(error)) from None


def chosen_environment() -> str | None:
    """Give the environment that `SALES_ENVIRONMENT` names, in the process's environment or in `.env`."""
    return _Chosen().environment


def environment_file(name: str) -> Path:
    """Name the file of an environment's settings; it holds no secret."""
    return PROJECT / "environments" / f"{name}.env"


def environment_names() -> list[str]:
    """List the environments that have a settings file."""
    return sorted(file.stem for file in environment_file("").parent.glob("*.env") if file.stem)


def is_secret(name: str) -> bool:
    """Say whether a setting is one that no file under version control may hold."""
    return "SecretStr" in str(Settings.model_fields[name].annotation) or name == "aws_access_key_id"


def load_stack_settings() -> StackSettings:
    """Read where the embedded stack lives. Raises WillNotHeal with the name of each unusable value."""
    try:
        return StackSettings()
    except ValidationError as error:
        raise WillNotHeal(_explain(error)) from None


def is_embedded(home: Path) -> bool:
    """Say whether commands speak to the stack that is up under `home`: unless another environment is asked for."""
    return embedded_settings_file(home).exists() and chosen_environment() in (None, EMBEDDED)


def embedded_settings_file(home: Path) -> Path:
    """Name the file that holds the running stack's settings; it exists only while the stack is up."""
    return home / "settings.json"


def _explain(error: ValidationError) -> str:
    # Names and reasons only: a value may be a secret.
    faults = [f"SALES_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False)]
    return "Settings cannot be used. Correct these in the environment or .env: " + "; ".join(faults)


def process_environment(values: dict[str, str]) -> dict[str, str]:
    """Give the environment for a process we start: this one's, with `values` on top."""
    return {**os.environ, **values}
