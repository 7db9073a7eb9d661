"""Signing in to MSK as an IAM identity: a presigned URL as an OAUTHBEARER token.

Its form is that of AWS's own signers (aws-msk-iam-sasl-signer-python, MSKAuthTokenProvider.py): a GET of
`https://kafka.<region>.amazonaws.com/?Action=kafka-cluster:Connect`, signed by query (SigV4, service `kafka-cluster`,
valid for 900 s), with a User-Agent added after signing, in URL-safe base64 without padding.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlsplit

from botocore.auth import SigV4QueryAuth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from prefect_aws import AwsCredentials

from blocks.errors import WillNotHeal

TOKEN_SECONDS = 900
USER_AGENT = "sales-pipeline"

Token = tuple[str, float]


def iam_token(credentials: Credentials, region: str) -> Token:
    """Make a token; also give the time until which it is valid, in seconds since 1970."""
    url = f"https://kafka.{region}.amazonaws.com/"
    request = AWSRequest(method="GET", url=url, params={"Action": "kafka-cluster:Connect"})
    SigV4QueryAuth(credentials, "kafka-cluster", region, expires=TOKEN_SECONDS).add_auth(request)
    signed = parse_qs(urlsplit(request.url).query)["X-Amz-Date"][0]
    signed_at = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    presigned = f"{request.url}&User-Agent={quote(USER_AGENT)}"
    token = base64.urlsafe_b64encode(presigned.encode()).decode().rstrip("=")
    return token, signed_at.timestamp() + TOKEN_SECONDS


def iam_login(aws: AwsCredentials) -> Callable[[str], Token]:
    """Give the callback by which librdkafka asks for a token, now and before each one's end.

    Raises WillNotHeal if there is no region or no identity to sign with: librdkafka would only say, after ten
    seconds, that no token was set.
    """
    region = aws.region_name
    if not region:
        raise WillNotHeal("To sign in to MSK by IAM the AWS region must be known.", "Set SALES_AWS_REGION.")
    _credentials(aws)
    return lambda _config: iam_token(_credentials(aws), region)


def _credentials(aws: AwsCredentials) -> Credentials:
    # Anew each time: a role that is assumed gives keys that end.
    try:
        found = aws.get_boto3_session().get_credentials()
    except (BotoCoreError, ClientError) as error:
        raise WillNotHeal(f"AWS gives no identity to sign in to MSK with: {error}") from error
    if found is None:
        raise WillNotHeal(
            "There is no AWS identity to sign in to MSK with.",
            "Set SALES_AWS_ACCESS_KEY_ID and SALES_AWS_SECRET_ACCESS_KEY, or run where a role is attached.",
        )
    return found
