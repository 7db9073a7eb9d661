"""The Kafka cluster as a Prefect block: addresses and credentials, turned into client configuration."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from prefect.blocks.core import Block
from prefect_aws import AwsCredentials
from pydantic import Field, SecretStr

from blocks.errors import WillNotHeal
from blocks.msk_iam import iam_login

PROTOCOLS = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
MECHANISMS = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "AWS_MSK_IAM"]
IAM = "AWS_MSK_IAM"


class KafkaCluster(Block):
    """A Kafka cluster: MSK in production, the embedded broker on a laptop."""

    _block_type_name: ClassVar[str] = "Kafka Cluster"
    _block_type_slug: ClassVar[str] = "kafka-cluster"

    bootstrap_servers: str = Field(description="host:port,host:port of the cluster's brokers.")
    security_protocol: PROTOCOLS = Field(default="PLAINTEXT", description="How to speak to the brokers.")
    sasl_mechanism: MECHANISMS | None = Field(default=None, description="How to sign in, where SASL is used.")
    username: str | None = Field(default=None, description="SASL user.")
    password: SecretStr | None = Field(default=None, description="SASL password.")
    topic_partitions: int = Field(
        default=4, ge=1, description="Partitions that the events' topic is to have."
    )

    ca_file: str | None = Field(default=None, description="CA bundle (PEM), where the CA is a private one.")
    aws: AwsCredentials | None = Field(default=None, description="Who signs in where that is by AWS_MSK_IAM.")

    def client_config(self) -> dict[str, Any]:
        """Give what every confluent-kafka client starts from; the password is in it in clear.

        Raises WillNotHeal if what the protocol or the mechanism needs is not there.
        """
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL") and self.ca_file:
            if not Path(self.ca_file).is_file():
                raise WillNotHeal(f"There is no CA bundle {self.ca_file}.", "Correct SALES_KAFKA_CA_FILE.")
            config["ssl.ca.location"] = self.ca_file
        if self.security_protocol.startswith("SASL"):
            config |= self._login()
        return config

    def _login(self) -> dict[str, Any]:
        if self.sasl_mechanism == IAM:
            return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": iam_login(self.aws or AwsCredentials())}
        if not (self.sasl_mechanism and self.username and self.password):
            raise WillNotHeal(
                f"{self.security_protocol} needs a mechanism, a user and a password; not all are there.",
                "Set SALES_KAFKA_SASL_MECHANISM, SALES_KAFKA_USERNAME and SALES_KAFKA_PASSWORD, "
                f"or the mechanism to {IAM}.",
            )
        return {
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password.get_secret_value(),
        }
