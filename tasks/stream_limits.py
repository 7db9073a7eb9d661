"""What the stream is held against; a deployment may give any of these as the flow's parameter `limits`."""

from pydantic import BaseModel, Field


class StreamLimits(BaseModel, frozen=True):
    """Thresholds of the stream's checks, in seconds and events."""

    max_restarts: int = Field(3, ge=0, description="How often failed tasks are restarted in one look.")
    restart_wait_seconds: float = Field(
        5,
        gt=0,
        description="Wait after the first restart before the next look; doubled for each one after it.",
    )
    settle_seconds: float = Field(
        30, ge=0, description="How long a connector may take to start before that counts as a fault."
    )
    keeps_pace_seconds: float = Field(
        120, gt=0, description="A lag that is worked off in this time is the stream's ordinary breath."
    )
    catch_up_seconds: float = Field(
        900, gt=0, description="A larger lag is fine while it will be gone within this time."
    )
    lag_fail_events: int = Field(10_000, ge=1, description="From this lag on, not catching up is a failure.")
    trend_seconds: float = Field(
        3, gt=0, description="Time between two looks at the lag where none is kept from before."
    )
    landing_warn_seconds: float = Field(
        300, gt=0, description="Events wait and nothing has landed for this long."
    )
    landing_fail_seconds: float = Field(1800, gt=0, description="The same, as a failure.")
    silence_warn_seconds: float = Field(
        86_400, gt=0, description="Nothing waits and nothing has come for this long: the producer may be out."
    )
    dead_letters_fail: int = Field(
        1000, ge=1, description="So many new dead letters are a failure; fewer, a warning."
    )
    drift_warn_share: float = Field(
        0.1, gt=0, le=1, description="Share of the newest events whose fields are not the event schema's."
    )
    drift_fail_share: float = Field(0.5, gt=0, le=1, description="The same, as a failure.")


LIMITS = StreamLimits()
