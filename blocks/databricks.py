"""What a Spark run is given in this environment: its cluster and its limits, as a block."""

from typing import Any

from prefect.blocks.core import Block
from pydantic import Field


class DatabricksCluster(Block):
    """The cluster a batch runs on, and how it is waited for."""

    _block_type_name = "Databricks Cluster"
    _block_type_slug = "databricks-cluster"

    new_cluster: dict[str, Any] = Field(description="`new_cluster` of the Databricks Jobs API.")
    timeout_seconds: int = Field(default=3600, gt=0, description="A run that takes longer is stopped.")
    poll_seconds: float = Field(default=10, gt=0, description="Wait between two looks at a run.")
