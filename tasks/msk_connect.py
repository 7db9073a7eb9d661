"""A connector on MSK Connect: AWS's API in place of Kafka Connect's.

It tells the connector's state but not its tasks', restarts only what is RUNNING, works in the background, and
neither pauses nor validates (https://docs.aws.amazon.com/MSKC/latest/mskc/API_Operations.html). A connector is
made by Terraform, with its plugin, capacity and role; here its configuration is kept up to date.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from prefect_aws import AwsCredentials

from blocks import names
from blocks.errors import HEALING_STATUSES, MayHeal, WillNotHeal
from tasks.connector_state import Change, Config, ConfigFault, ConnectorStatus, Offsets, WorkerState


class MskConnector:
    """One connector of MSK Connect, by its ARN; a `ConnectorApi`."""

    def __init__(self, aws: AwsCredentials, arn: str) -> None:
        self._aws, self._arn = aws, arn
        # arn:aws:kafkaconnect:region:account:connector/name/uuid
        self.name = arn.split("/")[1] if arn.count("/") >= 2 else arn

    def status(self) -> ConnectorStatus:
        """Read the connector's state; a failure's code and message stand for the trace."""
        found = self._describe()
        why = found.get("stateDescription") or {}
        trace = ": ".join(part for part in (why.get("code"), why.get("message")) if part) or None
        state = WorkerState(state=found["connectorState"], worker_id="MSK Connect", trace=trace)
        return ConnectorStatus(name=found["connectorName"], connector=state, tasks=None, type="sink")

    def config(self) -> Config | None:
        """Read the configuration; None if there is no such connector."""
        try:
            return dict(self._describe()["connectorConfiguration"])
        except UnknownConnector:
            return None

    def validate(self, config: Mapping[str, str]) -> list[ConfigFault]:  # noqa: ARG002
        """Tell of no fault: MSK Connect checks a configuration only as it is applied."""
        return []

    def put(self, config: Mapping[str, str]) -> Change:
        """Begin to replace the configuration; the connector is UPDATING meanwhile.

        Raises WillNotHeal if there is no such connector: only Terraform can make it.
        """
        version = self._describe()["currentVersion"]
        self._call("update_connector", currentVersion=version, connectorConfiguration=dict(config))
        return "updated"

    def restart(self, *, only_failed: bool) -> None:
        """Begin to restart the tasks, all of them or those that failed.

        Raises WillNotHeal for a connector that is not RUNNING: MSK Connect restarts no other.
        """
        self._call("restart_connector", onlyFailedTasks=only_failed)

    def pause(self) -> None:
        """Refuse: MSK Connect has no such thing."""
        self._refuse("pause")

    def resume(self) -> None:
        """Refuse: MSK Connect has no such thing."""
        self._refuse("resume")

    def stop(self) -> None:
        """Refuse: MSK Connect has no such thing."""
        self._refuse("stop")

    def offsets(self) -> Offsets:
        """Refuse: the API does not tell; the consumer group on the cluster does."""
        raise WillNotHeal(
            "MSK Connect does not tell offsets.", f"Ask the cluster for the group {names.CONSUMER_GROUP}."
        )

    def _refuse(self, verb: str) -> NoReturn:
        raise WillNotHeal(
            f"MSK Connect cannot {verb} a connector.",
            "Delete it and make it again by Terraform, if it must be.",
        )

    def _describe(self) -> dict[str, Any]:
        return self._call("describe_connector")

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        with _explained(self.name):
            client = self._aws.get_client("kafkaconnect")
            return getattr(client, operation)(connectorArn=self._arn, **arguments)


class UnknownConnector(WillNotHeal):
    """There is no connector of this ARN."""


def list_msk_connectors(aws: AwsCredentials, prefix: str = "") -> list[ConnectorStatus]:
    """Read the state of every connector whose name begins so."""
    with _explained(prefix or "the connectors"):
        pages = aws.get_client("kafkaconnect").get_paginator("list_connectors")
        found = [c for page in pages.paginate(connectorNamePrefix=prefix) for c in page["connectors"]]
    return [
        ConnectorStatus(
            name=each["connectorName"],
            connector=WorkerState(state=each["connectorState"]),
            tasks=None,
            type="sink",
        )
        for each in sorted(found, key=lambda each: each["connectorName"])
    ]


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say what to do about AWS's refusals. boto3 has tried again already what it gives up on."""
    try:
        yield
    except ClientError as error:
        raise _explain(name, error) from None
    except BotoCoreError as error:
        raise MayHeal(f"MSK Connect cannot be reached: {error}", "See the region and the network.") from error


def _explain(name: str, error: ClientError) -> MayHeal | WillNotHeal:
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    what = f"MSK Connect on {name}: {code}: {message}"
    if code == "NotFoundException":
        return UnknownConnector(
            what, "Make it by Terraform, or correct SALES_KAFKA_CONNECT_MSK_CONNECTOR_ARN."
        )
    if code in ("ForbiddenException", "UnauthorizedException", "AccessDeniedException"):
        return WillNotHeal(what, f"Let the role of the block {names.AWS} use kafkaconnect on this connector.")
    if error.response["ResponseMetadata"]["HTTPStatusCode"] in HEALING_STATUSES:
        return MayHeal(what, "It is busy; try again later.")
    return WillNotHeal(
        what, "Correct what it names; a connector that FAILED has to be made again by Terraform."
    )
