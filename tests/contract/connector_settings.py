"""The settings from which these tests render the sink's configuration."""

SETTINGS = {
    "snowflake_endpoint": None,
    "snowflake_account": "ab12345.eu-west-1",
    "snowflake_user": "SALES_PIPELINE",
    "snowflake_database": "SALES_DW",
    "snowflake_role": "SALES_PIPELINE",
    "kafka_connect_private_key_reference": "${secretsmanager:sales/snowflake-sink:private_key}",
}
