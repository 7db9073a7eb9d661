"""Kafka Connect's REST API as a Prefect block."""

from typing import ClassVar

import httpx
from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class KafkaConnect(Block):
    """A Kafka Connect cluster, reached by its REST API."""

    _block_type_name: ClassVar[str] = "Kafka Connect"
    _block_type_slug: ClassVar[str] = "kafka-connect"

    url: str = Field(description="Address of the REST API, for example https://connect.example.com:8083.")
    username: str | None = Field(default=None, description="User, if the API asks for one.")
    password: SecretStr | None = Field(default=None, description="Password of that user.")
    timeout_seconds: float = Field(default=10, gt=0, description="How long one request may take.")

    def client(self) -> httpx.Client:
        """Open an HTTP client with the API's address as base URL; close it, or use it in a `with`."""
        auth = None
        if self.username:
            auth = httpx.BasicAuth(self.username, self.password.get_secret_value() if self.password else "")
        return httpx.Client(base_url=self.url, auth=auth, timeout=self.timeout_seconds)
