"""What is sent to Kafka Connect and to MSK Connect, and what is made of their answers: recorded payloads, real HTTP."""

import pytest
from prefect_aws import AwsCredentials
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr, ValidationError

from blocks.errors import MayHeal, WillNotHeal
from blocks.kafka_connect import KafkaConnect
from blocks.register import kafka_connect_from
from blocks.settings import EmbeddedSettings
from tasks.connector_config import HIDDEN, ConfigChange, config_diff, render_connector
from tasks.connector_healing import heal, judge
from tasks.connector_state import ConfigFault
from tasks.kafka_connect import RestConnector, apply_connector, list_connectors, open_connector
from tasks.msk_connect import MskConnector, list_msk_connectors
from tasks.stream_limits import StreamLimits
from tests.contract.connector_settings import SETTINGS
from tests.contract.played_service import Answer, Asked, Played, play

# Known to both versions: the connector's Constants.java (v4) and SnowflakeSinkConnectorConfig.java (v3), and Kafka's.
SHARED_KEYS = {
    *("connector.class", "tasks.max", "topics", "snowflake.topic2table.map", "snowflake.url.name"),
    *("snowflake.user.name", "snowflake.private.key", "snowflake.database.name", "snowflake.schema.name"),
    *("snowflake.role.name", "key.converter", "value.converter", "value.converter.schemas.enable"),
    *(
        "snowflake.enable.schematization",
        "enable.task.fail.on.authorization.errors",
        "behavior.on.null.values",
    ),
    *("errors.tolerance", "errors.log.enable", "errors.deadletterqueue.topic.name"),
    *(
        "errors.deadletterqueue.topic.replication.factor",
        "errors.deadletterqueue.context.headers.enable",
        "jmx",
    ),
}
OWN_KEYS = {
    4: {
        "snowflake.validation": "client_side",
        "snowflake.autocreate.table.type": "none",
        "snowflake.streaming.validate.compatibility.with.classic": "false",
    },
    3: {"snowflake.ingestion.method": "SNOWPIPE_STREAMING", "snowflake.streaming.max.client.lag": "10"},
}
CLASSES = {
    4: "com.snowflake.kafka.connector.SnowflakeStreamingSinkConnector",
    3: "com.snowflake.kafka.connector.SnowflakeSinkConnector",
}
ARN = "arn:aws:kafkaconnect:eu-west-1:123456789012:connector/snowflake_sink/0f2c9a1e-5d3b-4c43-9f0e-8f1a2b3c4d5e-3"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("tasks.kafka_connect.PATIENCE_SECONDS", 0.5)


@pytest.mark.parametrize("version", [4, 3])
def test_each_version_of_the_connector_has_its_own_keys(version):
    config = render_connector(SETTINGS | {"kafka_connect_snowflake_version": version})
    assert config["connector.class"] == CLASSES[version]
    assert set(config) == SHARED_KEYS | set(OWN_KEYS[version])
    assert {key: config[key] for key in OWN_KEYS[version]} == OWN_KEYS[version]
    assert config["snowflake.private.key"] == SETTINGS["kafka_connect_private_key_reference"]
    assert all(isinstance(value, str) and "{{" not in value for value in config.values())


def test_both_versions_land_the_same_events_in_the_same_columns():
    new, old = (render_connector(SETTINGS | {"kafka_connect_snowflake_version": v}) for v in (4, 3))
    assert {key: new[key] for key in SHARED_KEYS - {"connector.class"}} == {
        key: old[key] for key in SHARED_KEYS - {"connector.class"}
    }
    assert render_connector(SETTINGS) == new


@pytest.mark.parametrize("key", ["-----BEGIN PRIVATE KEY-----MIIE", "MIIEvAIBADAN", "$SECRET"])
def test_a_secret_in_clear_is_refused_and_not_repeated(key):
    with pytest.raises(WillNotHeal, match="would be a secret in clear") as caught:
        render_connector(SETTINGS | {"kafka_connect_private_key_reference": key})
    assert key not in str(caught.value)


def test_a_diff_names_what_changes_and_hides_secrets():
    old = {
        "name": "s",
        "tasks.max": "1",
        "jmx": "true",
        "snowflake.private.key": "MIIE-in-clear",
        "gone": "x",
    }
    new = {"tasks.max": "3", "jmx": "true", "snowflake.private.key": "${file:/k:key}", "added": "y"}
    assert config_diff(old, new) == [
        ConfigChange("added", None, "y"),
        ConfigChange("gone", "x", None),
        ConfigChange("snowflake.private.key", HIDDEN, "${file:/k:key}"),
        ConfigChange("tasks.max", "1", "3"),
    ]
    assert config_diff(old, old) == config_diff({"name": "s"}, {}) == []
    assert [change.key for change in config_diff(None, new)] == sorted(new)


class Worker:
    """Kafka Connect with one connector at most, as far as configurations go."""

    def __init__(self, config: dict[str, str] | None) -> None:
        self.config = config

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            if self.config is None:
                return 404, {"error_code": 404, "message": "Connector snowflake_sink not found"}
            return 200, {"name": "snowflake_sink"} | self.config
        created, self.config = self.config is None, asked.body
        return (201 if created else 200), {
            "name": "snowflake_sink",
            "config": self.config,
            "tasks": [],
            "type": "sink",
        }


def test_a_configuration_is_put_whole_and_only_if_it_differs():
    with play(Worker(None)) as connect:
        block = KafkaConnect(url=connect.url)
        assert open_connector(block).config() is None
        assert apply_connector(block, {"tasks.max": "1"}) == "created"
        assert apply_connector(block, {"tasks.max": "1"}) == "unchanged"
        assert apply_connector(block, {"tasks.max": "2"}) == "updated"
        assert connect.changes() == ["PUT /connectors/snowflake_sink/config"] * 2
        assert connect.asked[-1].body == {"name": "snowflake_sink", "tasks.max": "2"}


VALIDATED = {
    "name": CLASSES[4],
    "error_count": 1,
    "groups": ["Snowflake Login Info"],
    "configs": [
        {
            "definition": {"name": "topics", "type": "LIST", "required": True, "importance": "HIGH"},
            "value": {
                "name": "topics",
                "value": "sales_events",
                "recommended_values": [],
                "errors": [],
                "visible": True,
            },
        },
        {
            "definition": {
                "name": "snowflake.url.name",
                "type": "STRING",
                "required": True,
                "importance": "HIGH",
            },
            "value": {
                "name": "snowflake.url.name",
                "value": None,
                "recommended_values": [],
                "errors": ['Missing required configuration "snowflake.url.name" which has no default value.'],
                "visible": True,
            },
        },
    ],
}


def test_validation_gives_the_faults_by_key():
    with play(lambda _asked: (200, VALIDATED)) as connect:
        faults = RestConnector(KafkaConnect(url=connect.url)).validate({"connector.class": CLASSES[4]})
    missing = 'Missing required configuration "snowflake.url.name" which has no default value.'
    assert faults == [ConfigFault("snowflake.url.name", missing)]
    asked = connect.asked[0]
    assert asked.path == f"/connector-plugins/{CLASSES[4]}/config/validate"
    assert asked.body == {"connector.class": CLASSES[4], "name": "snowflake_sink"}


def test_states_are_asked_for_by_connects_verbs():
    with play(lambda asked: (202, None)) as connect:
        connector = RestConnector(KafkaConnect(url=connect.url))
        connector.pause()
        connector.resume()
        connector.stop()
        connector.restart(only_failed=True)
        connector.restart(only_failed=False)
    path = "/connectors/snowflake_sink"
    assert connect.changes() == [
        f"PUT {path}/pause",
        f"PUT {path}/resume",
        f"PUT {path}/stop",
        f"POST {path}/restart?includeTasks=true&onlyFailed=true",
        f"POST {path}/restart?includeTasks=true&onlyFailed=false",
    ]


def test_offsets_and_the_list_of_connectors():
    offsets = {
        "offsets": [
            {
                "partition": {"kafka_topic": "sales_events", "kafka_partition": 2},
                "offset": {"kafka_offset": 4711},
            }
        ]
    }
    worker = {"state": "RUNNING", "worker_id": "w:8083"}
    listed = {
        name: {"status": {"name": name, "connector": worker, "tasks": [{"id": 0, **worker}], "type": "sink"}}
        for name in ("snowflake_sink", "archive_sink")
    }
    with play(lambda asked: (200, offsets if "offsets" in asked.path else listed)) as connect:
        block = KafkaConnect(url=connect.url)
        assert open_connector(block).offsets() == {("sales_events", 2): 4711}
        assert [status.name for status in list_connectors(block)] == ["archive_sink", "snowflake_sink"]


def test_credentials_are_sent_and_never_told():
    with play(lambda _asked: (401, None)) as connect:
        block = KafkaConnect(url=connect.url, username="u", password=SecretStr("hunter2"))
        with pytest.raises(WillNotHeal) as caught:
            open_connector(block).status()
    assert "hunter2" not in str(caught.value)


# ---- MSK Connect


def described(state: str = "RUNNING", **more: object) -> Answer:
    """DescribeConnector's answer, as recorded in its API reference."""
    return 200, {
        "capacity": {"provisionedCapacity": {"mcuCount": 1, "workerCount": 2}},
        "connectorArn": ARN,
        "connectorConfiguration": {"tasks.max": "1", "snowflake.private.key": "${secretsmanager:a:b}"},
        "connectorName": "snowflake_sink",
        "connectorState": state,
        "creationTime": "2025-03-01T10:15:30.000Z",
        "currentVersion": "K3AEGXETSR30VB",
        "kafkaConnectVersion": "3.7.1",
        **more,
    }


def refused(status: int, kind: str, message: str) -> Answer:
    return status, {"message": message, "__type": kind}


@pytest.fixture
def aws_at(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def make(played: Played) -> AwsCredentials:
        return AwsCredentials(
            region_name="eu-west-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key=SecretStr("secret"),
            aws_client_parameters=AwsClientParameters(endpoint_url=played.url),
        )

    return make


@pytest.mark.parametrize(
    ("state", "more", "status", "value", "advice"),
    [
        ("RUNNING", {}, "ok", "RUNNING, tasks not told.", ""),
        ("CREATING", {}, "warn", "connector CREATING.", "MSK Connect takes minutes"),
        ("UPDATING", {}, "warn", "connector UPDATING.", "MSK Connect takes minutes"),
        ("RESTARTING", {}, "warn", "connector RESTARTING.", "MSK Connect takes minutes"),
        ("DELETING", {}, "fail", "connector DELETING.", "Make it again"),
    ],
)
def test_states_of_msk_connect_and_their_findings(aws_at, state, more, status, value, advice):
    with play(lambda _asked: described(state, **more)) as msk:
        healing = heal(MskConnector(aws_at(msk), ARN), StreamLimits(settle_seconds=0.2))
        finding = judge(healing)
    assert (finding.status, finding.value) == (status, value)
    assert finding.advice.startswith(advice)
    assert msk.changes() == []


def test_a_failed_connector_of_msk_connect_cannot_be_restarted(aws_at):
    why = {"code": "UnknownError.Unknown", "message": "The last operation failed. Retry the operation."}

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return described("FAILED", stateDescription=why)
        return refused(400, "BadRequestException", "Connector is not in RUNNING state.")

    with play(answer) as msk:
        connector = MskConnector(aws_at(msk), ARN)
        assert (
            connector.status().failure
            == "connector: UnknownError.Unknown: The last operation failed. Retry the operation."
        )
        with pytest.raises(WillNotHeal, match="BadRequestException: Connector is not in RUNNING") as caught:
            heal(connector, StreamLimits())
    assert "made again by Terraform" in caught.value.advice


def test_msk_connect_is_told_versions_and_configurations(aws_at):
    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return described()
        operation = {
            "connectorArn": ARN,
            "connectorOperationArn": ARN.replace("connector/", "connector-operation/"),
        }
        return 200, operation | ({"connectorState": "UPDATING"} if asked.method == "PUT" else {})

    with play(answer) as msk:
        block = KafkaConnect(msk_connector_arn=ARN, aws=aws_at(msk))
        connector = open_connector(block)
        assert (type(connector), connector.name) == (MskConnector, "snowflake_sink")
        assert (
            apply_connector(block, {"tasks.max": "1", "snowflake.private.key": "${secretsmanager:a:b}"})
            == "unchanged"
        )
        assert apply_connector(block, {"tasks.max": "2"}) == "updated"
        connector.restart(only_failed=True)
    put, post = (asked for asked in msk.asked if asked.method != "GET")
    assert (put.path.split("?")[0].endswith("-3"), put.path.split("?")[1]) == (
        True,
        "currentVersion=K3AEGXETSR30VB",
    )
    assert put.body == {"connectorConfiguration": {"tasks.max": "2"}}
    assert (post.path.endswith("/restart?onlyFailedTasks=true"), post.body) == (True, None)


@pytest.mark.parametrize(
    ("answer", "family", "says"),
    [
        (refused(404, "NotFoundException", "No such connector"), WillNotHeal, "Make it by Terraform"),
        (refused(403, "ForbiddenException", "no"), WillNotHeal, "Let the role of the block sales-aws"),
        (refused(401, "UnauthorizedException", "no"), WillNotHeal, "Let the role of the block sales-aws"),
        (refused(429, "TooManyRequestsException", "slow down"), MayHeal, "try again later"),
        (refused(500, "InternalServerErrorException", "oops"), MayHeal, "try again later"),
        (refused(503, "ServiceUnavailableException", "oops"), MayHeal, "try again later"),
    ],
)
def test_what_msk_connect_refuses_is_explained(aws_at, answer, family, says):
    def with_error_header(asked: Asked) -> Answer:
        return answer

    with play(with_error_header) as msk, pytest.raises(family, match=says):
        MskConnector(aws_at(msk), ARN).status()


def test_what_msk_connect_has_not_is_said(aws_at):
    with play(lambda _asked: refused(404, "NotFoundException", "none")) as msk:
        connector = MskConnector(aws_at(msk), ARN)
        assert connector.config() is None
        assert connector.validate({}) == []
        for verb in ("pause", "resume", "stop"):
            with pytest.raises(WillNotHeal, match=f"MSK Connect cannot {verb} a connector"):
                getattr(connector, verb)()
        with pytest.raises(WillNotHeal, match="does not tell offsets"):
            connector.offsets()
        with pytest.raises(WillNotHeal, match="Make it by Terraform"):
            connector.put({"tasks.max": "1"})


def test_connectors_of_msk_connect_are_listed_page_by_page(aws_at):
    def page(asked: Asked) -> Answer:
        first = "nextToken" not in asked.path
        name, state = ("zeta", "RUNNING") if first else ("alpha", "FAILED")
        listed = [{"connectorName": name, "connectorState": state, "connectorArn": ARN}]
        return 200, {"connectors": listed} | ({"nextToken": "t"} if first else {})

    with play(page) as msk:
        found = list_msk_connectors(aws_at(msk))
    assert [(status.name, status.connector.state) for status in found] == [
        ("alpha", "FAILED"),
        ("zeta", "RUNNING"),
    ]


def test_the_settings_choose_the_api():
    def block(**settings: object) -> KafkaConnect:
        return kafka_connect_from(EmbeddedSettings.model_validate(settings))

    rest = block(kafka_connect_url="http://connect:8083")
    assert (rest.url, rest.msk_connector_arn, rest.aws) == ("http://connect:8083", None, None)
    msk = block(kafka_connect_msk_connector_arn=ARN, aws_region="eu-west-1")
    assert (msk.place, msk.aws.region_name) == (ARN, "eu-west-1")
    with pytest.raises(WillNotHeal, match="SALES_KAFKA_CONNECT_MSK_CONNECTOR_ARN"):
        block()
    with pytest.raises(ValidationError, match="either url or msk_connector_arn"):
        KafkaConnect()
