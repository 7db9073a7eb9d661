"""Slack: short messages a person can act on, through the alerts block."""

from prefect.blocks.notifications import CustomWebhookNotificationBlock

from blocks import names
from blocks.load import load_block


def post(subject: str, body: str) -> None:
    """Post one message to the channel that the alerts block points at."""
    load_block(CustomWebhookNotificationBlock, names.ALERTS).notify(body=body, subject=subject)
