"""Where the numbers of the monitoring go: CloudWatch, a file that Prometheus reads, or neither; as a block."""

from typing import ClassVar

from prefect.blocks.core import Block
from prefect_aws import AwsCredentials
from pydantic import Field


class MetricsTarget(Block):
    """Where metrics are written, and the name of the environment that they carry."""

    _block_type_name: ClassVar[str] = "Metrics Target"
    _block_type_slug: ClassVar[str] = "metrics-target"

    environment: str = Field(description="Value of the dimension Environment.")
    cloudwatch_namespace: str = Field(default="", description="CloudWatch namespace; empty sends nothing.")
    file: str = Field(default="", description="File in Prometheus's text format; empty writes none.")
    aws: AwsCredentials = Field(description="Who may put metrics.")
