"""What a Spark run is given in this environment: its cluster and its limits, typed, as a block."""

from typing import Any, ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import Field, model_validator


class DatabricksCluster(Block):
    """The job cluster of a batch and how its run is waited for.

    Fields are those of `new_cluster` in the Jobs API 2.1
    (https://docs.databricks.com/api/workspace/jobs/submit), the few that a sales batch needs.
    """

    _block_type_name: ClassVar[str] = "Databricks Cluster"
    _block_type_slug: ClassVar[str] = "databricks-cluster"

    spark_version: str = Field(
        default="17.3.x-scala2.13", description="Databricks Runtime; it must bring Spark 4."
    )
    node_type_id: str = Field(default="m5d.large", description="Instance type of the workers.")
    driver_node_type_id: str | None = Field(
        default=None, description="Instance type of the driver, if another."
    )
    min_workers: int = Field(default=1, ge=1, description="Workers the cluster starts with and keeps.")
    max_workers: int = Field(default=4, ge=1, description="Workers it may grow to.")
    availability: Literal["SPOT", "SPOT_WITH_FALLBACK", "ON_DEMAND"] = Field(
        default="SPOT_WITH_FALLBACK", description="Spot instances, on-demand ones where there are none."
    )
    first_on_demand: int = Field(default=1, ge=0, description="Nodes, the driver first, that are never spot.")
    policy_id: str | None = Field(default=None, description="Cluster policy the run is held to.")
    instance_profile_arn: str | None = Field(default=None, description="Role by which the cluster reads S3.")
    custom_tags: dict[str, str] = Field(
        default={"pipeline": "sales"}, description="Tags by which costs are told."
    )
    spark_conf: dict[str, str] = Field(default={}, description="Spark settings of this environment.")
    large_batch_bytes: int = Field(
        default=256 << 20, gt=0, description="A batch whose files have more bytes than this is a large one."
    )
    large_batch_spark_conf: dict[str, str] = Field(
        default={}, description="Spark settings of a large batch; they win over spark_conf."
    )
    libraries: list[dict[str, Any]] = Field(
        default=[], description="Libraries of the run, as the API wants them."
    )
    timeout_seconds: int = Field(default=3600, gt=0, description="A run that takes longer is stopped.")
    poll_seconds: float = Field(default=10, gt=0, description="Wait between two looks at a run.")

    @model_validator(mode="after")
    def _bounds(self) -> "DatabricksCluster":
        if self.max_workers < self.min_workers:
            raise ValueError(f"max_workers ({self.max_workers}) is below min_workers ({self.min_workers})")
        return self

    def new_cluster(self, batch_bytes: int) -> dict[str, Any]:
        """Give the `new_cluster` object of a run over so many bytes; fields that are not set are left out."""
        is_large = batch_bytes > self.large_batch_bytes
        aws = {
            "availability": self.availability,
            "first_on_demand": self.first_on_demand,
            "zone_id": "auto",
            "instance_profile_arn": self.instance_profile_arn,
        }
        cluster = {
            "spark_version": self.spark_version,
            "node_type_id": self.node_type_id,
            "driver_node_type_id": self.driver_node_type_id,
            "autoscale": {"min_workers": self.min_workers, "max_workers": self.max_workers},
            "aws_attributes": {name: value for name, value in aws.items() if value is not None},
            "policy_id": self.policy_id,
            "custom_tags": self.custom_tags,
            "spark_conf": self.spark_conf | (self.large_batch_spark_conf if is_large else {}),
            "data_security_mode": "SINGLE_USER",
        }
        return {name: value for name, value in cluster.items() if value is not None}
