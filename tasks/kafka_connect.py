"""Kafka Connect by its REST API: a typed client for one connector, and what is done with it.

Paths, statuses and bodies are those of Kafka's ConnectorsResource and ConnectorPluginsResource.
"""

from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from blocks import names
from blocks.errors import MayHeal, WillNotHeal, may_heal
from blocks.kafka_connect import KafkaConnect
from tasks.connector_config import config_diff
from tasks.connector_state import (
    Change,
    Config,
    ConfigFault,
    ConnectorApi,
    ConnectorStatus,
    Offsets,
)
from tasks.msk_connect import MskConnector, list_msk_connectors

# Longer than a rebalance, during which Connect answers 409.
PATIENCE_SECONDS = 30
# Connect itself gives a change up after 90 s (RestRequestTimeout) and then answers 500.
CHANGE_SECONDS = 100


class RestConnector:
    """One connector of a Kafka Connect cluster; a `ConnectorApi`."""

    def __init__(self, connect: KafkaConnect, name: str = names.CONNECTOR) -> None:
        self._connect, self.name = connect, name
        self._path = f"/connectors/{name}"

    def status(self) -> ConnectorStatus:
        """Read the state of the connector and of each task."""
        return _parsed(ConnectorStatus, self._connect, call(self._connect, "GET", f"{self._path}/status"))

    def config(self) -> Config | None:
        """Read the configuration, as it was given: references are not resolved in it."""
        answer = call(self._connect, "GET", f"{self._path}/config", absent_is_fine=True)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.json()

    def validate(self, config: Mapping[str, str]) -> list[ConfigFault]:
        """Have Connect check a configuration key by key."""
        path = f"/connector-plugins/{config['connector.class']}/config/validate"
        answer = call(self._connect, "PUT", path, json={**config, "name": self.name}).json()
        values = [each["value"] for each in answer["configs"]]
        return [ConfigFault(value["name"], error) for value in values for error in value["errors"]]

    def put(self, config: Mapping[str, str]) -> Change:
        """Create the connector, or replace its configuration; its tasks start anew."""
        answer = call(self._connect, "PUT", f"{self._path}/config", json={**config, "name": self.name})
        return "created" if answer.status_code == httpx.codes.CREATED else "updated"

    def restart(self, *, only_failed: bool) -> None:
        """Begin to restart the connector's instance and tasks, all of them or those that failed."""
        which = {"includeTasks": "true", "onlyFailed": str(only_failed).lower()}
        call(self._connect, "POST", f"{self._path}/restart", params=which)

    def pause(self) -> None:
        """Pause it."""
        call(self._connect, "PUT", f"{self._path}/pause")

    def resume(self) -> None:
        """Resume it, from a pause or a stop."""
        call(self._connect, "PUT", f"{self._path}/resume")

    def stop(self) -> None:
        """Stop it."""
        call(self._connect, "PUT", f"{self._path}/stop")

    def offsets(self) -> Offsets:
        """Read the offsets that the connector's group has committed."""
        found = call(self._connect, "GET", f"{self._path}/offsets").json()["offsets"]
        return {
            (each["partition"]["kafka_topic"], int(each["partition"]["kafka_partition"])): int(
                each["offset"]["kafka_offset"]
            )
            for each in found
        }


def open_connector(connect: KafkaConnect, name: str = names.CONNECTOR) -> ConnectorApi:
    """Give the connector by the API that the block points at."""
    if connect.msk_connector_arn:
        assert connect.aws, "a connector on MSK Connect comes with credentials"
        return MskConnector(connect.aws, connect.msk_connector_arn)
    return RestConnector(connect, name)


def list_connectors(connect: KafkaConnect) -> list[ConnectorStatus]:
    """Read the state of every connector of the cluster (of MSK Connect: of the account), in order of name."""
    if connect.msk_connector_arn:
        assert connect.aws, "a connector on MSK Connect comes with credentials"
        return list_msk_connectors(connect.aws)
    answer = call(connect, "GET", "/connectors", params={"expand": "status"}).json()
    return [ConnectorStatus.model_validate(answer[name]["status"]) for name in sorted(answer)]


def connector_status(connect: KafkaConnect, name: str = names.CONNECTOR) -> ConnectorStatus:
    """Read a connector's status. Raises WillNotHeal if there is no such connector."""
    return open_connector(connect, name).status()


def apply_connector(connect: KafkaConnect, config: Mapping[str, str], name: str = names.CONNECTOR) -> Change:
    """Create the connector or bring it to this configuration; say what was done."""
    connector = open_connector(connect, name)
    known = connector.config()
    return "unchanged" if known is not None and not config_diff(known, config) else connector.put(config)


def restart_failed(connect: KafkaConnect, name: str = names.CONNECTOR) -> ConnectorStatus:
    """Restart the connector and its tasks where they failed; give the status as the restart begins."""
    connector = open_connector(connect, name)
    connector.restart(only_failed=True)
    return connector.status()


def call(
    connect: KafkaConnect, method: str, path: str, *, absent_is_fine: bool = False, **request: Any
) -> httpx.Response:
    """Ask Kafka Connect, again for a while where it may heal (a rebalance's 409, 5xx, no answer).

    Every call can be repeated: reads, PUT of a whole configuration or a target state, restart of what failed.
    Raises MayHeal or WillNotHeal with what to do; 404 is no error if `absent_is_fine`.
    """
    timeout = connect.timeout_seconds if method == "GET" else max(connect.timeout_seconds, CHANGE_SECONDS)
    try:
        with connect.client() as client:
            for attempt in patiently():
                with attempt:
                    answer = client.request(method, path, timeout=timeout, **request)
                    if absent_is_fine and answer.status_code == httpx.codes.NOT_FOUND:
                        return answer
                    return answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise _explain(connect, error) from None
    except httpx.TransportError as error:
        raise MayHeal(
            f"Kafka Connect at {connect.url} cannot be reached: {error or type(error).__name__}.",
            "See that its workers run and that this machine may reach them.",
        ) from error
    raise AssertionError("unreachable: the retry returns or raises")


def patiently() -> Retrying:
    """Try again for PATIENCE_SECONDS what may heal, with growing and jittered waits."""
    wait = wait_random_exponential(0.2, max=3)
    return Retrying(
        retry=retry_if_exception(may_heal), wait=wait, stop=stop_after_delay(PATIENCE_SECONDS), reraise=True
    )


def _parsed(kind: type[ConnectorStatus], connect: KafkaConnect, answer: httpx.Response) -> ConnectorStatus:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError:
        raise WillNotHeal(
            f"What answers at {connect.url} is not Kafka Connect's REST API.",
            f"Correct the address of the block {names.KAFKA_CONNECT}.",
        ) from None


def _explain(connect: KafkaConnect, error: httpx.HTTPStatusError) -> MayHeal | WillNotHeal:
    code = error.response.status_code
    if code in (401, 403):
        return WillNotHeal(
            f"Kafka Connect at {connect.url} refuses the credentials ({code}).",
            f"Correct the user and password of the block {names.KAFKA_CONNECT}.",
        )
    try:
        message = error.response.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = error.response.text[:300]
    if code == httpx.codes.NOT_FOUND:
        return WillNotHeal(f"{message} (at {connect.url}).", "Make it with `sales connector apply`.")
    what = f"Kafka Connect at {connect.url} answers {code}: {message}"
    if code == httpx.codes.CONFLICT:
        return MayHeal(what, "Its workers rebalance without end: see their log for members that come and go.")
    if may_heal(error):
        return MayHeal(what, "See the workers' log.")
    return WillNotHeal(what, "Correct what it names.")
