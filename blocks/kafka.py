"""The Kafka cluster as a Prefect block: addresses and credentials, turned into client configuration."""

from typing import Any, ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

PROTOCOLS = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class KafkaCluster(Block):
    """A Kafka cluster: MSK in production, the embedded broker on a laptop."""

    _block_type_name: ClassVar[str] = "Kafka Cluster"
    _block_type_slug: ClassVar[str] = "kafka-cluster"

    bootstrap_servers: str = Field(description="host:port,host:port of the cluster's brokers.")
    security_protocol: PROTOCOLS = Field(default="PLAINTEXT", description="How to speak to the brokers.")
    sasl_mechanism: str | None = Field(default=None, description="SASL mechanism, for example SCRAM-SHA-512.")
    username: str | None = Field(default=None, description="SASL user.")
    password: SecretStr | None = Field(default=None, description="SASL password.")

    def client_config(self) -> dict[str, Any]:
        """Give what every confluent-kafka client starts from; the password is in it in clear."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"] = self.username
            config["sasl.password"] = self.password.get_secret_value() if self.password else None
        return {key: value for key, value in config.items() if value is not None}
