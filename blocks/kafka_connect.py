"""Kafka Connect as a Prefect block: its REST API, or the connector's ARN where MSK Connect runs it."""

from typing import ClassVar, Self

import httpx
from prefect.blocks.core import Block
from prefect_aws import AwsCredentials
from pydantic import Field, SecretStr, model_validator


class KafkaConnect(Block):
    """A Kafka Connect cluster, reached by its REST API; or one connector of MSK Connect, reached by AWS's API."""

    _block_type_name: ClassVar[str] = "Kafka Connect"
    _block_type_slug: ClassVar[str] = "kafka-connect"

    url: str = Field(
        default="", description="Address of the REST API, e.g. https://connect.example.com:8083."
    )
    username: str | None = Field(default=None, description="User, if the API asks for one.")
    password: SecretStr | None = Field(default=None, description="Password of that user.")
    timeout_seconds: float = Field(default=10, gt=0, description="How long one request may take.")
    msk_connector_arn: str | None = Field(
        default=None, description="The connector on MSK Connect, which has no REST API."
    )
    aws: AwsCredentials | None = Field(default=None, description="Who may manage that connector.")

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not (self.url or self.msk_connector_arn):
            raise ValueError("either url or msk_connector_arn has to be given")
        return self

    @property
    def place(self) -> str:
        """Say which Kafka Connect this is, for messages."""
        return self.msk_connector_arn or self.url

    def client(self) -> httpx.Client:
        """Open an HTTP client with the API's address as base URL; close it, or use it in a `with`."""
        auth = None
        if self.username:
            auth = httpx.BasicAuth(self.username, self.password.get_secret_value() if self.password else "")
        return httpx.Client(base_url=self.url, auth=auth, timeout=self.timeout_seconds)
