"""What the Kafka block makes of its fields, up to the token by which an IAM identity signs in to MSK."""

import base64
import hashlib
import hmac
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
import trustme
from botocore.credentials import Credentials
from confluent_kafka import KafkaException, Producer
from prefect_aws import AwsCredentials
from pydantic import SecretStr

from blocks.errors import WillNotHeal
from blocks.kafka import KafkaCluster
from blocks.msk_iam import iam_login, iam_token
from blocks.register import kafka_from
from blocks.settings import Settings

LOGIN = {"username": "u", "password": SecretStr("hunter2")}
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": SecretStr("wJalrXUtnFEMI")}


def test_plaintext_needs_nothing():
    assert KafkaCluster(bootstrap_servers="b:9092").client_config() == {
        "bootstrap.servers": "b:9092",
        "security.protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_signs_in_with_a_password(mechanism, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(trustme.CA().cert_pem.bytes())
    cluster = KafkaCluster(
        bootstrap_servers="b:9096",
        security_protocol="SASL_SSL",
        sasl_mechanism=mechanism,
        ca_file=str(ca),
        **LOGIN,
    )
    config = cluster.client_config()
    assert config == {
        "bootstrap.servers": "b:9096",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(ca),
        "sasl.mechanism": mechanism,
        "sasl.username": "u",
        "sasl.password": "hunter2",
    }
    Producer(config | {"log_level": 0})  # librdkafka takes it
    assert "hunter2" not in repr(cluster)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    def config(**fields):
        return KafkaCluster(bootstrap_servers="b:1", **fields).client_config()

    with pytest.raises(WillNotHeal, match="needs a mechanism, a user and a password"):
        config(security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", username="u")
    with pytest.raises(WillNotHeal, match=r"no CA bundle .*none\.pem"):
        config(security_protocol="SSL", ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(WillNotHeal, match="the AWS region must be known"):
        config(security_protocol="SASL_SSL", sasl_mechanism="AWS_MSK_IAM", aws=AwsCredentials())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(WillNotHeal, match="no AWS identity"):
        config(
            security_protocol="SASL_SSL",
            sasl_mechanism="AWS_MSK_IAM",
            aws=AwsCredentials(region_name="eu-west-1"),
        )


def decode(token: str) -> str:
    assert not token.endswith("=")
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()


@pytest.mark.parametrize("session_token", [None, "a/session+token=="])
def test_the_iam_token_is_a_presigned_url_as_aws_signers_make_it(session_token):
    before = time.time()
    token, expires = iam_token(Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI", session_token), "eu-west-1")
    assert before - 1 < expires - 900 <= time.time()
    url = urlsplit(decode(token))
    assert (url.scheme, url.netloc, url.path) == ("https", "kafka.eu-west-1.amazonaws.com", "/")
    query = dict(parse_qsl(url.query, strict_parsing=True))
    date = query["X-Amz-Date"]
    assert date == time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(expires - 900))
    scope = f"{date[:8]}/eu-west-1/kafka-cluster/aws4_request"
    expected = {
        "Action": "kafka-cluster:Connect",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"AKIDEXAMPLE/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
    }
    expected |= {"X-Amz-Security-Token": session_token} if session_token else {}
    assert query == expected | {
        "X-Amz-Signature": signature(expected, "wJalrXUtnFEMI", scope, url.netloc),
        "User-Agent": "sales-pipeline",
    }


def signature(query: dict[str, str], secret: str, scope: str, host: str) -> str:
    """Sign by hand, as AWS describes Signature Version 4 for query strings."""
    canonical_query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(query.items()))
    empty = hashlib.sha256(b"").hexdigest()
    canonical = f"GET\n/\n{canonical_query}\nhost:{host}\n\nhost\n{empty}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashed}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def test_librdkafka_gets_its_token_from_the_block():
    settings = Settings(
        kafka_bootstrap_servers="127.0.0.1:1",
        kafka_sasl_mechanism="AWS_MSK_IAM",
        aws_region="eu-west-1",
        **KEYS,
    )
    config = kafka_from(settings).client_config()
    assert (config["security.protocol"], config["sasl.mechanism"]) == ("SASL_SSL", "OAUTHBEARER")
    assert "sasl.password" not in config
    tokens = []

    def remembered(text: str) -> tuple[str, float]:
        tokens.append(config["oauth_cb"](text))
        return tokens[-1]

    Producer(config | {"oauth_cb": remembered, "log_level": 0})  # returns once it has a token
    assert len(tokens) == 1
    assert "X-Amz-Credential=AKIDEXAMPLE%2F" in decode(tokens[0][0])
    assert "wJalrXUtnFEMI" not in decode(tokens[0][0])
    aws = AwsCredentials(region_name="eu-west-1", **KEYS)
    assert iam_login(aws)("")[1] > time.time() + 890


@contextmanager
def tls_server(authority: trustme.CA):
    """Accept TLS connections; give the port, and a list of what became of their handshakes."""
    context, outcomes = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as secure:
                    secure.settimeout(2)
                    outcomes.append(bool(secure.recv(4)))
            except OSError:  # SSLError is one
                outcomes.append(False)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], outcomes
    listener.close()


@pytest.mark.parametrize("known", [True, False])
def test_a_private_authority_is_believed_only_if_its_bundle_is_named(tmp_path, known):
    authority, other, ca = trustme.CA(), trustme.CA(), tmp_path / "ca.pem"
    (authority if known else other).cert_pem.write_to_path(str(ca))
    with tls_server(authority) as (port, outcomes):
        cluster = KafkaCluster(
            bootstrap_servers=f"127.0.0.1:{port}", security_protocol="SSL", ca_file=str(ca)
        )
        with pytest.raises(KafkaException):  # it is no Kafka
            Producer(cluster.client_config() | {"log_level": 0}).list_topics(timeout=2)
    assert outcomes
    assert any(outcomes) == known
