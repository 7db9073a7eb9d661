"""What the embedded sink understands of the Snowflake sink's configuration."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SinkConfig:
    """What the task takes from the Snowflake sink's configuration; the credentials are not checked here."""

    name: str
    tables: dict[str, str]
    url: str
    user: str
    database: str
    dead_letter_topic: str
    context_headers: bool
    tolerant: bool
    ignore_nulls: bool

    @property
    def group(self) -> str:
        """The consumer group, as Kafka Connect names it."""
        return f"connect-{self.name}"

    @classmethod
    def parse(cls, name: str, config: Mapping[str, str]) -> "SinkConfig":
        """Read the connector's configuration (its keys: Constants.java of the connector, v4)."""
        database, schema = config["snowflake.database.name"], config["snowflake.schema.name"]
        pairs = (pair.split(":") for pair in config.get("snowflake.topic2table.map", "").split(",") if pair)
        mapped = {topic.strip(): table.strip() for topic, table in pairs}
        topics = [topic.strip() for topic in config["topics"].split(",")]
        return cls(
            name=name,
            tables={topic: f"{database}.{schema}.{mapped.get(topic, topic)}" for topic in topics},
            url=config["snowflake.url.name"],
            user=config["snowflake.user.name"],
            database=database,
            dead_letter_topic=config.get("errors.deadletterqueue.topic.name", ""),
            context_headers=config.get("errors.deadletterqueue.context.headers.enable") == "true",
            tolerant=config.get("errors.tolerance") == "all",
            ignore_nulls=config.get("behavior.on.null.values", "DEFAULT").upper() == "IGNORE",
        )
